"""English: four accents."""

from seedasr_jax.data_pipelines.synth.spoken.language import spoken

ENGLISH = spoken(
    tag="en",
    voices={
        "en-US": "gmw/en-US",
        "en-GB": "gmw/en",
        "en-GB-scotland": "gmw/en-GB-scotland",
        "en-029": "gmw/en-029",
    },
    space=" ",
    plain="""
    POLITE turn SWITCH the DEVICE in the ROOM
    turn the DEVICE SWITCH WHEN
    POLITE set the alarm for HOUR WHEN
    wake me up at HOUR MINUTE on DAY
    set a timer for NUMBER minutes in the ROOM
    POLITE remind me to TASK WHEN
    do i have to TASK WHEN
    find the COLOUR suitcase in the ROOM
    POLITE add THING and THING to the shopping list
    POLITE play some MUSIC in the ROOM
    what is the weather like in CITY WHEN
    will it WEATHER in CITY on DAY
    POLITE make the ROOM lights COLOUR
    POLITE SHUT the DOOR WHEN
    is there a PLACE near the PLACE
    book a table for NUMBER at HOUR MINUTE
    how far is it from CITY to CITY by TRAIN
    show me the WAY way from the PLACE to the PLACE
    change the temperature in the ROOM to NUMBER degrees
    LOUDER the DEVICE by NUMBER percent
    POLITE translate the word THING into LANGUAGE
    POLITE read my NEW LETTERS from DAY
    start the MACHINE at HOUR MINUTE
    when does the NEXT TRAIN leave for CITY WHEN
    tell me a STORY about ANIMALS and ANIMALS
    buy NUMBER tickets for the TRAIN to CITY on DAY
    """,
    named="""
    POLITE call NAME WHEN
    send the NEW LETTERS to NAME
    ask NAME to TASK WHEN
    tell NAME that the FOOD is ready
    invite NAME to dinner on DAY
    where does NAME live now
    remind NAME to TASK
    meet NAME near the PLACE at HOUR
    play the NEW song by NAME
    POLITE read the LETTERS from NAME
    is NAME coming home on DAY
    text NAME that we are in CITY
    """,
    slots="""
    POLITE: | please | could you | now
    SWITCH: on | off
    DEVICE: lamp | heating | fan | radio | television | oven | kettle | printer | screen
    | speaker
    ROOM: kitchen | bedroom | bathroom | hallway | garage | office | garden | basement | attic
    WHEN: today | tonight | tomorrow morning | this afternoon | on DAY | after lunch
    | in an hour
    DAY: monday | tuesday | wednesday | thursday | friday | saturday | sunday
    HOUR: one | three | four | five | six | seven | eight | nine | ten | eleven | noon
    MINUTE: fifteen | twenty | thirty | forty | fifty
    NUMBER: three | five | six | seven | eight | nine | ten | twelve | fifteen | twenty | thirty
    TASK: water the plants | feed the cat | clean the windows | pay the rent | walk the dog
    | wash the car | pack the suitcase | sign the contract | return the books
    | bake a cake
    THING: milk | bread | butter | apples | onions | coffee | sugar | rice | eggs | cheese
    | pepper
    MUSIC: jazz | rock | piano music | opera | folk songs | quiet music | old songs
    CITY: berlin | london | paris | madrid | lisbon | tokyo | dublin | boston | chicago | rome
    WEATHER: rain | snow | be sunny | be windy | get cold | be foggy
    COLOUR: red | green | blue | yellow | purple | orange | white
    SHUT: open | close | lock | check
    DOOR: front door | back door | window | gate | curtains | blinds | mailbox
    PLACE: restaurant | bakery | pharmacy | hotel | bank | station | airport | museum | harbour
    | library | park | hospital | market
    WAY: shortest | fastest | safest | cheapest | usual
    LOUDER: raise | lower | increase | reduce
    LANGUAGE: french | german | spanish | italian | polish | turkish | russian
    NEXT: next | first | last
    NEW: new | first | last | longest
    LETTERS: messages | emails | notes | letters | photos
    MACHINE: dishwasher | washing machine | vacuum cleaner | coffee machine | dryer
    TRAIN: train | bus | ferry | flight | tram
    STORY: joke | story | riddle | poem
    ANIMALS: cats | dogs | whales | birds | horses | elephants | dragons | spiders | sheep
    FOOD: soup | fish | breakfast | cake | tea | pizza
    """,
    homophones="""
    stephen/steven claire/clare sean/shawn erik/eric philip/phillip allan/alan geoffrey/jeffrey
    hannah/hanna brian/bryan cody/kody carl/karl derek/derrick rachel/rachael
    rebecca/rebekah isabel/isobel michelle/michele neil/neal sophie/sofie stuart/stewart
    vivian/vivien elizabeth/elisabeth graham/graeme kelly/kellie leslie/lesley bailey/bayley
    conner/connor hailey/haley casey/kasey
    """,
    rare="""
    meksel/mexel gombick/gombik hillan/hyllan/hyllen kezis/kezys meandel/meendel
    skelkey/skelkie/skelky mabbis/mabis drolmar/drolmer fupaido/fupaydo dearnel/deernel
    dulvet/dulvett rasonah/rasonna sleta/sletta velilo/vellilo saddedo/sadedo nistix/nystix
    bracko/brackoh/brakoh kimavo/kimmavo/kymmavo reafedo/reefedo nomet/nommet windret/wyndret
    glarda/glardah glilena/glylena gomodey/gomodie skeanto/skeento lantick/lantik wufaimo/wufaymo
    hozikie/hoziky flokso/floksoh sluntis/sluntys tivenis/tivenys zaditah/zaditta slilmis/slilmys
    starkey/starkie flefey/fleffy fletoh/fletto drintok/dryntok kearnys/keernis niris/nyrris
    venocka/venokah vyvick/vyvik fyrdah/phyrda/phyrdah cundema/kundema raffodo/rafodo
    stuksok/stuxock/stuxok zenick/zenik brarrie/brarry trantar/tranter zealvix/zeelvix
    scokser/scoxer glavock/glavok scorett/skorett melko/melkoh glitix/glyttix cavakel/kavakel
    stolock/stolok zesaty/zessaty deackel/deeckel/deekel lereran/lereren lozimar/lozimer
    dimeta/dimetah harnet/harnett tabalah/taballa jorlan/jorlen lelloly/leloly hapan/happan
    scolket/skolket slynix/slynnix scalver/skalver slolix/slollix heandok/heendok zarlan/zarlen
    brinel/brinnel/brynnel weaksy/weaxie puksa/puxa mexaivo/mexayvo glistel/glystel woddilo/wodillo
    scazana/skazana theavin/theevin vulodey/vulodie glezet/glezett flottyn/flotyn zodock/zodok
    briran/brirran flearel/fleerel demela/demella tozis/tozys glofan/gloffan zyzicks/zyzix
    skentar/skenter vedar/veddar trenet/trenett/trennet scardis/scardys sumicks/sumix
    gealka/gealkah/geelkah thuxet/thuxett slumo/slumoh geastik/geestik hukicks/hukix lalvie/lalvy
    fevell/phevell brapix/brappix brentey/brentie/brenty simbris/symbris trilvel/trylvel jecko/jekoh
    nealmik/neelmik cantet/kantet zabary/zabbary desemah/desemma rostey/rostie/rosty stolmo/stolmoh
    rofacka/rofakah deandyn/deendyn stealet/steelet daiscel/dayscel stalbroc/stalbrok sinnin/synnin
    scundtin/skundtin scomdry/skomdry scaplic/scaplik weaplix/weaplyx juficks/jufix
    trandcic/trandcik zolvilo/zolvylo geamvie/geamvy zurjoc/zurjocc/zurjock peamdohoh/peemdohoh
    crorsla/crorslah/krorsla pleatel/pleetel paivifie/paivyfie/payvifie rilgino/rylgino
    weansix/weansyx brearta/breerta wyfo/wyfoh samtey/samty peandsly/peendsly trurrey/trurry
    meamdic/meamdik netis/netys wimfis/wymfis totricks/totrix creartry/kreartry jajiltino/jajyltino
    zildis/zyldis stenda/stendah dupie/dupye drinbrin/drynbrin cundwoc/cundwok vondploc/vondplok
    heatret/heatrett/heetret meafie/meefie stulfly/stulflye taindtis/taindtys/tayndtis
    seabrulin/seebrulin craiplis/craiplys/crayplis faimie/faymie coskilwet/coskylwet tobie/toby
    sastorjie/sastorjy jenhovik/jenhovyc/jenhovyk dimjicc/dimjick/dymjicc trorcet/trorcett
    jaigefet/jaygefet nealcrel/nealkrel jeamailix/jeamailyx sturbrey/sturbry flealcris/flealkris
    pearnin/peernin hecrey/hekrey cromjilo/cromjylo bailnet/baylnet mumwie/mumwy
    jeatojoc/jeatojok/jeetojoc veasillo/veasilo/veasylo biscie/biscy roljobey/roljoby
    bainbry/baynbry plaijoc/plaijok sleaho/sleahoh naflicks/naflix dulicks/dulix
    solillo/sollillo/solyllo zaimie/zaymie boplet/boplett haistie/haystie seaneja/seeneja
    gelplet/gelplett weamett/weemett delplillo/delplilo/delplylo ciplet/cyplet slaitra/slaytra
    plibricks/plibrix/plybrix bramdrix/bramdryx laimdilo/laimdylo braibino/braybino stearsy/steersy
    jaimjix/jaimjyx cunstino/kunstino leafie/leafy tulzis/tulzys slonocc/slonock dajocc/dajock
    mearett/mearret/mearrett baiscis/bayscis mefy/mefye batricc/batrick/batrycc leasa/leasah
    trenflix/trenflyx ronwilo/ronwylo beardro/beerdro coplin/koplin sterzet/sterzett
    leandfino/leendfino cronvel/kronvel zunnis/zunys drengicks/drengix pajaivoc/pajaivok/pajayvoc
    jotrilo/jotrylo reascoh/reaskoh pofeplic/pofeplik fealpis/fealpys jainnic/jainnik
    planloc/planlok tadicc/tadick/tadycc gaindfla/gayndfla tuplet/tuplett jaifoh/jayfoh
    sacroh/sakroh tearo/tearoh wigaicrel/wigaikrel garstilo/garstyllo/garstylo
    stamfillo/stamfilo/stamfylo ginaticc/ginatik jorvet/jorvett ceartis/ceartys trabrie/trabry
    munva/munvah plamla/plamlah seahicks/seahix flumsca/flumska zecramjey/zekramjey drasco/drascoh
    juldro/juldroh loflie/lofly mulfly/mulflye zulicks/zulix nonscin/nonscyn
    deanfloc/deanflocc/deanflok trairillo/trairilo/trairylo tufla/tuflah boha/bohah flenjey/flenjy
    jerpla/jerplah mamcrix/mamcryx/mamkrix crimhino/crymhino raficks/rafycks weazasta/weazastah
    librupa/librupah pendfis/pendfys pluheagey/pluheegey sempicc/sempick rairlet/rairlett
    nenillo/nenyllo
    """,
    unseen_dev="""
    nelva/nelvah wakemie/wakemy trerna/trernah brearda/breerda wozaley/wozalie jordo/jordoh
    perlet/perlett deezock/deezok kindrar/kyndrar wadet/wadett tramik/trammik jasolah/jasolla
    trellie/trely thatah/thatta/thattah nibbok/nibock/nybbok koffa/koffah brumbey/brumbie
    zason/zasson camikyn/kamikyn poffivy/pofivie/pofivy creazyn/creezyn bammova/bamova/bamovah
    skeafis/skeefis/skeefys glantey/glanty rolkick/rolkik jaddida/jadida galado/gallado
    creamix/creemix scandik/skandik curamix/kuramix brabar/brabbar gleaxet/gleexet
    """,
    unseen="""
    creandhie/kreandhie jaimwoc/jaimwok/jaymwoc treahix/treahyx deawis/deawys zemzet/zemzett
    beamah/beemah lirirjet/lyrirjet vaiplino/vayplino drecroh/drekroh zamdra/zamdrah
    braimlin/braymlin juslicc/juslick/juslycc coleabis/koleabis steacret/steacrett lailett/laylett
    breanbris/breenbris zonpie/zonpye cealillo/cealyllo trailwa/trailwah/traylwa lolfie/lolfy
    faibie/faybie flealco/flealko/fleelco baizoh/bayzoh teanlobis/teenlobis zandmet/zandmett
    stalgo/stalgoh noljey/noljy hipicks/hipix vihillo/vihilo ceskilkel/ceskylkel
    wizulnicc/wizulnick/wizulnik brilgis/brylgis
    """,
)
