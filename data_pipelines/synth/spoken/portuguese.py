"""Portuguese, of Portugal and of Brazil."""

from seedasr_jax.data_pipelines.synth.spoken.language import spoken

PORTUGUESE = spoken(
    tag="pt",
    voices={"pt-PT": "roa/pt", "pt-BR": "roa/pt-BR"},
    space=" ",
    plain="""
    POLITE SWITCH a DEVICE ROOM
    SWITCH a DEVICE WHEN
    POLITE põe o despertador para HOUR WHEN
    POLITE prepara o MEAL DAY para NUMBER pessoas
    POLITE preciso de TASK WHEN
    tenho que TASK WHEN
    procura o carro COLOUR em CITY
    acrescenta THING e THING na lista de compras
    POLITE toca MUSIC WHEN
    como está o tempo em CITY WHEN
    vai WEATHER em CITY DAY
    marca um temporizador de NUMBER minutos para LUNCH
    muda a cor da lâmpada ROOM para COLOUR
    POLITE SHUT DOOR WHEN
    POLITE existe PLACE aqui perto em CITY
    reserva uma mesa para NUMBER pessoas DAY
    quanto tempo leva de TRAIN de CITY até CITY
    mostra o caminho mais WAY de CITY para CITY
    aumenta a temperatura ROOM para NUMBER graus
    LOUDER a DEVICE em NUMBER por cento
    POLITE como se diz THING em LANGUAGE
    POLITE leia LETTERS que chegaram DAY
    quando parte o próximo TRAIN para CITY WHEN
    conta STORY sobre ANIMALS e ANIMALS
    compra NUMBER bilhetes de TRAIN para CITY
    """,
    named="""
    POLITE liga para NAME WHEN
    envia LETTERS para NAME
    diz a NAME que FOOD
    pergunta a NAME se pode TASK
    convida NAME para jantar DAY
    onde mora NAME agora
    lembra NAME de TASK
    encontro com NAME em CITY WHEN
    toca a última canção com NAME
    POLITE procura as fotos com NAME
    """,
    slots="""
    POLITE: | por favor | então | agora
    LUNCH: a sopa | o arroz | a carne | a massa
    SWITCH: acende | apaga | desliga | verifica
    DEVICE: luz | lâmpada | televisão | cafeteira | impressora | ventoinha | lareira
    ROOM: da cozinha | da sala | do quarto | da garagem | do jardim | do corredor | da varanda
    WHEN: hoje | amanhã | esta noite | à tarde | depois do MEAL | daqui a uma hora | DAY
    MEAL: almoço | jantar | café
    DAY: na segunda | na terça | na quarta | na quinta | na sexta | no sábado | no domingo
    HOUR: as duas | as três e meia | as quatro | as cinco e vinte | as sete
    | as oito | as nove e meia | as dez | as onze
    NUMBER: dois | três | quatro | cinco | seis | oito | dez | doze | quinze | vinte | trinta
    TASK: regar as plantas | passear o cachorro | pagar o aluguel | limpar as janelas
    | lavar o carro | fazer a mala | assinar o contrato | devolver os livros | tirar o lixo
    THING: leite | pão | maçãs | cebolas | café | açúcar | arroz | ovos | queijo | tomates | sal
    MUSIC: um pouco de jazz | música clássica | canções antigas | ópera | samba | fado
    CITY: lisboa | madrid | londres | paris | berlim | recife | salvador | coimbra | roma
    | brasília
    WEATHER: chover | nevar | fazer sol | fazer vento | fazer frio
    COLOUR: vermelho | verde | azul | amarelo | laranja | branco | roxo
    SHUT: abre | fecha | tranca
    DOOR: a porta | a janela | as cortinas | o portão | as persianas | a gaveta
    PLACE: uma farmácia | um hotel | um banco | uma padaria | um museu | um hospital
    | uma biblioteca
    WAY: curto | rápido | seguro | barato | bonito
    LOUDER: aumenta | abaixa | sobe | reduz
    LANGUAGE: francês | alemão | inglês | italiano | polonês | turco | russo
    LETTERS: as mensagens | as cartas | os recados | as notas | as notícias
    TRAIN: trem | ônibus | barco | avião | navio
    STORY: uma piada | um conto | uma história | um poema
    ANIMALS: gatos | cães | baleias | pássaros | cavalos | elefantes | dragões | aranhas
    | ovelhas
    FOOD: a sopa está pronta | chegamos tarde | o peixe está frio | tudo vai bem | já é hora
    """,
    homophones="""
    teresa/tereza elena/helena sousa/souza isabel/izabel cristina/christina sofia/sophia
    rafael/raphael neusa/neuza elisa/eliza henrique/enrique susana/suzana luísa/luíza
    celso/selso gisela/gizela
    """,
    rare="""
    flimbifa/phlimbifa creltel/kreltel himbadel/imbadel hedisel/hedizel turbaso/turbazo
    desufeu/dezupheu calhia/kalhia misifália/mizifália vususeu/vusuzeu/vuzuzeu
    flidaseu/flidazeu/phlidazeu flirinho/phlirinho talvito/talvitto dezefito/dezefitto
    lotefeu/lotepheu crondana/krondana caçeneu/kasseneu nocarália/nokarália omefah/omephah
    mundito/munditto vonhusa/vonhuza passiteu/paçiteu ruselália/ruzelália laçisia/laçizia
    pussariz/puçariz flanutia/phlanutia gilteziz/jiltesiz flarisana/flarizana
    alvesia/halvesia/halvezia faridis/pharidis rojafo/rojapho latuso/latuzo gelvis/jelvis
    gereseira/gerezeira/jereseira crugiteu/krujiteu geliso/gelizo gasurália/gazurália
    lasitália/lazitália butufa/butupha diplusseu/dipluçeu popesa/popeza eridália/heridália
    forga/phorga plofluma/plophluma girinreu/jirinreu hoflefisa/hoflefiza/hophlefisa
    suscufa/suscupha/suskufa cusfufa/cusphufa/kusfufa plelbesa/plelbeza polgico/polgiko/poljico
    lerbico/lerbiko nunesvufa/nunesvupha/nunezvufa plirufa/plirupha crolpateu/krolpateu
    cripis/kripis fivália/phivália crasico/crazico tonlico/tonliko nagufa/nagupha molpico/molpiko
    tesfligeu/tesflijeu huravo/uravo colisbesa/colisbeza delico/deliko
    vefledico/veflediko/vephledico fliçico/fliçiko vonsesa/vonseza cenfis/cenphis hicrufa/hikrufa
    dulgesa/dulgeza flelgoso/flelgozo/phlelgoso dosseu/doçeu relbesco/relbesko nehico/nehiko
    sefasris/sephasris mutisa/mutiza pisvico/pisviko/pizvico ruculo/rukulo vaporico/vaporiko
    fiflela/phiflela narfla/narphla gassico/gassiko mahiz/maiz sudasneza/sudazneza trohiz/troiz
    resiz/reziz curvitufa/curvitupha/kurvitufa honico/honiko naflel/naphlel flopa/phlopa
    luflesa/lufleza/luphlesa milgussiz/milguçiz hosesa/hoseza/hozeza flenico/fleniko
    ficro/phicro/phikro crenluceu/krenluceu malvufa/malvupha plunplufa/plunplupha hitris/itris
    fotrália/photrália flosviz/flozviz hupito/upito sahiz/saiz lircreu/lirkreu flimopis/phlimopis
    derbadufa/derbadupha caceu/kaceu vecrabisa/vecrabiza trotufa/trotupha truduseu/truduzeu
    fonlisa/fonliza trenfeu/trenpheu sisso/siço firrufa/phirrufa seculdeza/sekuldeza somufa/somupha
    hinurtreu/inurtreu crirflisa/crirfliza
    """,
    unseen_dev="""
    hilvafana/ilvaphana craladia/kraladia durrafis/durraphis mecuseu/mekuzeu posono/pozono
    todifis/todiphis tidusah/tiduzah fliltesel/fliltezel greçofel/greçophel fonidia/phonidia
    krasedo/krazedo jolvosiz/jolvoziz
    """,
    unseen="""
    vurfesa/vurfeza trergico/trergiko/trerjico bosfla/bosphla pluisva/pluizva tefladeu/tephladeu
    anmis/hanmis ferfália/pherfália honcreu/honkreu rulvufa/rulvupha anbupha/hanbufa gurresa/gurreza
    crelsutro/krelsutro
    """,
)
