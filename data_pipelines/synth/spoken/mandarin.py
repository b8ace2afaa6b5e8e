"""Mandarin, in simplified characters."""

from seedasr_jax.data_pipelines.synth.spoken.language import spoken

MANDARIN = spoken(
    tag="zh",
    voices={"zh": "sit/cmn"},
    space="",
    plain="""
    POLITE SWITCH ROOM 的 DEVICE
    POLITE 把 ROOM 的 DEVICE ADJUST
    把 ROOM 的 音量 调到 NUMBER
    把 ROOM 的 温度 调到 NUMBER 度
    WHEN HOUR 点 叫 我 起床
    POLITE 设 一个 HOUR 点 NUMBER 分 的 闹钟
    提醒 我 WHEN TASK
    我 WHEN 要 TASK 吗
    在 CITY 买 COLOUR 的 衣服
    POLITE 在 ROOM 播放 MUSIC
    CITY WHEN 会 WEATHER 吗
    TRAIN 从 CITY 到 CITY 要 多久
    从 PLACE 去 PLACE 怎么 走
    PLACE 附近 有 没有 PLACE
    订 NUMBER 张 WHEN 去 CITY 的 TICKET
    把 THING 和 THING 加到 清单 里
    POLITE THING 用 LANGUAGE 怎么 说
    把 ROOM 的 灯 换成 COLOUR
    WHEN 去 CITY 的 TRAIN 几点 出发
    POLITE 读 一下 WHEN 的 LETTERS
    POLITE 讲 ANIMAL 和 ANIMAL 的 STORY
    WHEN 的 LETTERS 有 几 条
    """,
    named="""
    POLITE 给 NAME 打 电话
    WHEN 给 NAME 发 一条 短信
    告诉 NAME 我们 到 CITY 了
    提醒 NAME WHEN TASK
    约 NAME WHEN MEET
    问 一下 NAME 要不要 MEET
    NAME 住 在 CITY 吗
    播放 NAME 唱 的 歌
    POLITE 打开 NAME 的 照片
    请 NAME WHEN 来 PLACE
    """,
    slots="""
    POLITE: | 请 | 麻烦 你 | 现在 | 马上
    SWITCH: 打开 | 关闭 | 检查
    ADJUST: 打开 | 关掉 | 修好 | 擦干净
    ROOM: 厨房 | 客厅 | 卧室 | 浴室 | 书房 | 车库 | 花园 | 阳台 | 走廊 | 办公室
    DEVICE: 灯 | 电视 | 空调 | 风扇 | 暖气 | 窗帘 | 音响 | 门锁 | 烤箱 | 冰箱
    NUMBER: 二十 | 三十 | 五 | 六 | 八 | 九 | 十五 | 四十 | 七
    HOUR: 五 | 六 | 七 | 八 | 九 | 十 | 十一 | 三
    WHEN: 今天 | 明天 早上 | 今晚 | 下午 | 星期 WEEKDAY | 周末 | 半夜
    WEEKDAY: 一 | 二 | 三 | 四 | 五 | 六 | 日
    TASK: 浇花 | 喂猫 | 交 房租 | 吃药 | 遛狗 | 洗车 | 写 报告 | 收 衣服 | 倒 垃圾 | 寄 包裹
    MUSIC: 古典 音乐 | 爵士 音乐 | 钢琴曲 | 民歌 | 摇滚 | 老歌 | 戏曲
    CITY: 北京 | 上海 | 广州 | 成都 | 西安 | 杭州 | 天津 | 武汉 | 昆明 | 深圳
    WEATHER: 下雨 | 下雪 | 刮风 | 出 太阳 | 降温
    PLACE: 火车站 | 机场 | 医院 | 图书馆 | 银行 | 邮局 | 超市 | 公园 | 博物馆 | 学校 | 饭店
    TICKET: 机票 | 火车票 | 船票 | 汽车票
    THING: 牛奶 | 面包 | 苹果 | 鸡蛋 | 白糖 | 咖啡 | 大米 | 豆腐 | 西红柿 | 洋葱
    LANGUAGE: 英语 | 法语 | 德语 | 日语 | 俄语
    COLOUR: 红色 | 绿色 | 蓝色 | 黄色 | 紫色 | 白色
    TRAIN: 火车 | 飞机 | 轮船 | 大巴 | 地铁
    LETTERS: 邮件 | 短信 | 新闻 | 笔记 | 日程
    ANIMAL: 大象 | 老虎 | 小狗 | 鲸鱼 | 猴子 | 兔子 | 蜘蛛
    STORY: 故事 | 笑话 | 谜语
    MEET: 吃饭 | 喝茶 | 看 电影 | 打球 | 爬山 | 游泳
    """,
    homophones="""
    张伟/章伟 刘洋/刘阳 陈静/陈敬 杨明/杨铭 赵磊/赵蕾 周杰/周洁 徐丽/徐莉 林佳/林嘉 何欣/何新
    郭峰/郭锋 郑浩/郑昊 沈俊/沈骏 唐玲/唐灵 朱婷/朱亭 许文/许雯 宋轩/宋宣 韩思/韩丝 王芳/王方
    高梅/高眉 江涛/姜涛
    """,
    rare="""
    林云峰/林云锋/林芸峰 何丝菲/何思菲 李静方/李静芳 杨雯瑞/杨雯睿 杨昊滔/杨浩滔 刘俊飞/刘骏菲
    陈志芳/陈智方/陈智芳 胡敬阳/胡静洋 何雯菲/何雯飞 朱文轩/朱雯宣 马思菲/马思飞 赵志轩/赵智宣
    周云峰/周芸峰/周芸锋 胡丝亭/胡丝婷/胡思亭 徐文方/徐文芳/徐雯芳 郭雨瑞/郭雨睿
    刘宇菲/刘雨菲/刘雨飞 郭志飞/郭智菲 朱敬亭/朱静婷 张小涛/张小滔/张晓滔 杨明锋/杨铭峰
    吴丝亭/吴思亭/吴思婷 张新洁/张欣杰 刘敬滔/刘静滔 刘昊伟/刘昊玮/刘浩玮 黄昊洋/黄浩洋
    何志宣/何志轩/何智宣 刘志瑞/刘志睿/刘智睿 郭云峰/郭云锋/郭芸锋 李云伟/李云玮/李芸伟
    陈佳伟/陈佳玮/陈嘉伟 何宇琳/何雨林/何雨琳 张志涛/张智滔 孙佳洋/孙嘉阳 马丝方/马思芳
    杨小菲/杨小飞/杨晓飞 胡宇峰/胡雨锋 林丝灵/林思玲 周丝轩/周思轩 李宇方/李宇芳 林俊婷/林骏婷
    朱云宣/朱芸轩 赵佳轩/赵嘉轩 赵丝涛/赵丝滔/赵思涛 朱志洋/朱志阳 高丝玲/高思玲
    孙昊涛/孙昊滔/孙浩涛 赵明菲/赵铭飞 王文芳/王雯方 孙浩亭/孙浩婷 赵宇洁/赵雨杰 高佳峰/高佳锋
    赵昊杰/赵浩洁 周晓亭/周晓婷 马志灵/马志玲/马智玲 徐佳方/徐嘉芳 高新滔/高欣滔 陈明方/陈铭方
    马昊林/马浩林 朱新峰/朱新锋/朱欣峰
    """,
    unseen_dev="""
    胡雯洋/胡雯阳 李俊灵/李俊玲/李骏灵 孙文玲/孙雯玲 杨小琳/杨晓琳 黄嘉林/黄嘉琳 黄新宣/黄欣宣
    刘昊林/刘浩琳 高小杰/高小洁/高晓洁 胡文菲/胡雯飞 赵宇方/赵雨方 王丝玲/王思玲
    郭佳洁/郭嘉杰/郭嘉洁 赵思方/赵思芳 郭文林/郭雯林/郭雯琳 王宇峰/王宇锋 刘芸峰/刘芸锋
    """,
    unseen="""
    何宇宣/何雨轩 张宇洋/张雨洋 何丝洋/何思阳 郭云亭/郭芸婷 赵浩洋/赵浩阳 孙敬飞/孙静菲/孙静飞
    张明灵/张明玲/张铭灵 高昊涛/高浩涛 高云灵/高云玲/高芸玲 周文林/周雯琳 马欣涛/马欣滔
    胡俊锋/胡骏峰 赵志滔/赵智涛 杨志瑞/杨智瑞/杨智睿 李敬宣/李敬轩/李静宣 孙佳方/孙嘉方/孙嘉芳
    """,
)
