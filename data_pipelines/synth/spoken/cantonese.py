"""Cantonese as it is spoken, in traditional characters."""

from seedasr_jax.data_pipelines.synth.spoken.language import spoken

CANTONESE = spoken(
    tag="yue",
    voices={"yue": "sit/yue"},
    space="",
    plain="""
    POLITE SWITCH ROOM 嘅 DEVICE
    POLITE 將 ROOM 嘅 DEVICE ADJUST
    將 ROOM 嘅 音量 調到 NUMBER
    將 ROOM 嘅 溫度 調到 NUMBER 度
    WHEN HOUR 點 叫 我 起身
    POLITE 校 一個 HOUR 點 NUMBER 分 嘅 鬧鐘
    提 我 WHEN TASK
    我 WHEN 使 唔 使 TASK
    喺 CITY 買 COLOUR 嘅 衫
    POLITE 喺 ROOM 播 MUSIC
    CITY WHEN 會 唔 會 WEATHER
    搭 TRAIN 由 CITY 去 CITY 要 幾耐
    由 PLACE 去 PLACE 點樣 行
    PLACE 附近 有 冇 PLACE
    訂 NUMBER 張 WHEN 去 CITY 嘅 TICKET
    買 THING 同 THING 返 屋企
    POLITE THING 用 LANGUAGE 點 講
    將 ROOM 嘅 燈 轉做 COLOUR
    WHEN 去 CITY 嘅 TRAIN 幾點 開
    POLITE 讀 WHEN 嘅 LETTERS
    POLITE 講 ANIMAL 同 ANIMAL 嘅 STORY
    WHEN 嘅 LETTERS 有 幾多
    """,
    named="""
    POLITE 打 電話 畀 NAME
    WHEN 發 短訊 畀 NAME
    話 畀 NAME 知 我哋 到 CITY
    提 NAME WHEN TASK
    約 NAME WHEN MEET
    問 NAME 想 唔 想 MEET
    NAME 係 唔 係 住 喺 CITY
    播 NAME 唱 嘅 歌
    POLITE 開 NAME 嘅 相片
    請 NAME WHEN 嚟 PLACE
    """,
    slots="""
    POLITE: | 唔該 | 幫 我 | 而家 | 即刻
    SWITCH: 開 | 閂 | 檢查
    ADJUST: 開 | 閂咗 | 整好 | 抹乾淨
    ROOM: 廚房 | 客廳 | 睡房 | 浴室 | 書房 | 車房 | 花園 | 露台 | 走廊 | 寫字樓
    DEVICE: 燈 | 電視 | 冷氣 | 風扇 | 暖爐 | 窗簾 | 音響 | 門鎖 | 焗爐 | 雪櫃
    NUMBER: 二十 | 三十 | 五 | 六 | 八 | 九 | 十五 | 四十 | 七
    HOUR: 五 | 六 | 七 | 八 | 九 | 十 | 十一 | 三
    WHEN: 今日 | 聽日 朝早 | 今晚 | 下晝 | 星期 WEEKDAY | 週末 | 半夜
    WEEKDAY: 一 | 二 | 三 | 四 | 五 | 六 | 日
    TASK: 淋花 | 餵貓 | 交租 | 食藥 | 放狗 | 洗車 | 寫 報告 | 收 衫 | 倒 垃圾 | 寄 包裹
    MUSIC: 古典 音樂 | 爵士 音樂 | 鋼琴曲 | 民歌 | 搖滾 | 舊歌 | 粵劇
    CITY: 香港 | 澳門 | 廣州 | 深圳 | 東京 | 台北 | 倫敦 | 巴黎 | 北京 | 上海
    WEATHER: 落雨 | 落雪 | 打風 | 出 太陽 | 轉涼
    PLACE: 火車站 | 機場 | 醫院 | 圖書館 | 銀行 | 郵局 | 超市 | 公園 | 博物館 | 學校 | 酒店
    TICKET: 機票 | 火車票 | 船票 | 巴士票
    THING: 牛奶 | 麵包 | 蘋果 | 雞蛋 | 白糖 | 咖啡 | 大米 | 豆腐 | 番茄 | 洋蔥
    LANGUAGE: 英文 | 法文 | 德文 | 日文 | 韓文
    COLOUR: 紅色 | 綠色 | 藍色 | 黃色 | 紫色 | 白色
    TRAIN: 火車 | 飛機 | 輪船 | 巴士 | 地鐵
    LETTERS: 電郵 | 短訊 | 新聞 | 筆記 | 日程
    ANIMAL: 大象 | 老虎 | 狗仔 | 鯨魚 | 馬騮 | 兔仔 | 蜘蛛
    STORY: 故事 | 笑話 | 謎語
    MEET: 食飯 | 飲茶 | 睇戲 | 打波 | 行山 | 游水
    """,
    homophones="""
    陳志明/陳智明 李家輝/李嘉輝 黃詠儀/黃泳儀 林俊傑/林駿傑 何美玲/何美鈴 周玉珍/周玉真
    張偉文/章偉文 王芳/王方 劉洋/劉陽 郭峰/郭鋒 朱婷/朱亭 許雯/許文 羅浩/羅昊 曾玲/曾靈
    鍾楠/鍾南 曹晨/曹辰
    """,
    rare="""
    林嘉鋒/林家峰 何志晨/何智晨/何智辰 黃芳珍/黃芳真 郭家峰/郭家鋒 李明暉/李鳴輝 李惠儀/李惠怡
    陳方英/陳芳瑛 劉志婷/劉智亭/劉智婷 李方鈴/李芳玲 郭惠英/郭慧英 王文鈴/王雯玲/王雯鈴
    朱方婷/朱芳亭 何思英/何詩瑛 李方珍/李芳珍/李芳真 鄭慧瑛/鄭慧英 何文怡/何雯儀/何雯怡
    朱駿晨/朱駿辰 鄭泳玲/鄭泳鈴/鄭詠玲 許方輝/許芳輝 朱嘉珍/朱嘉真/朱家真 朱志真/朱智真
    徐志真/徐智真 朱惠鋒/朱慧鋒 周文英/周雯英 何明峰/何鳴峰/何鳴鋒 王惠婷/王慧婷
    梁俊晨/梁俊辰/梁駿晨 劉惠儀/劉惠怡/劉慧怡 蔡志玲/蔡志鈴/蔡智鈴 郭泳儀/郭泳怡/郭詠怡
    徐泳亭/徐詠亭 黃志英/黃智英 陳嘉南/陳家楠 黃昊峰/黃浩鋒 吳昊暉/吳昊輝/吳浩輝 劉雯晨/劉雯辰
    郭思輝/郭詩輝 蔡鳴儀/蔡鳴怡 謝俊瑛/謝駿瑛 王明鋒/王鳴峰/王鳴鋒
    """,
    unseen_dev="""
    郭俊瑛/郭駿瑛 許明珍/許鳴珍/許鳴真 徐志鈴/徐智玲 郭俊南/郭俊楠 郭惠峰/郭惠鋒 郭惠亭/郭慧亭
    蔡昊鋒/蔡浩鋒 郭惠儀/郭慧怡 梁嘉暉/梁嘉輝/梁家輝 劉文暉/劉雯暉/劉雯輝
    """,
    unseen="""
    陳思暉/陳詩輝 朱鳴南/朱鳴楠 吳志珍/吳智珍 王嘉怡/王家怡 林志鋒/林智鋒 許浩儀/許浩怡
    郭思晨/郭詩辰 朱志婷/朱智亭 陳俊鈴/陳駿鈴 章方明/章芳明
    """,
)
