"""Spanish, of Spain and of Latin America."""

from seedasr_jax.data_pipelines.synth.spoken.language import spoken

SPANISH = spoken(
    tag="es",
    voices={"es-ES": "roa/es", "es-419": "roa/es-419"},
    space=" ",
    plain="""
    POLITE SWITCH DEVICE ROOM
    SWITCH DEVICE WHEN
    POLITE pon la alarma a HOUR WHEN
    despiértame DAY a HOUR
    POLITE recuérdame TASK WHEN
    tengo que TASK WHEN
    busca el coche COLOUR en CITY
    añade THING y THING a la lista de la compra
    POLITE pon MUSIC WHEN
    qué tiempo hace en CITY WHEN
    va a WEATHER en CITY DAY
    pon un temporizador de NUMBER minutos para LUNCH
    cambia el color de la lámpara ROOM a COLOUR
    POLITE SHUT DOOR WHEN
    POLITE hay PLACE cerca de aquí en CITY
    reserva una mesa para NUMBER personas DAY
    cuánto se tarda en TRAIN de CITY a CITY
    busca el camino más WAY de CITY a CITY
    sube la temperatura ROOM a NUMBER grados
    LOUDER DEVICE un NUMBER por ciento
    POLITE cómo se dice THING en LANGUAGE
    POLITE lee LETTERS que llegaron DAY
    cuándo sale el próximo TRAIN para CITY WHEN
    cuéntame STORY sobre ANIMALS y ANIMALS
    compra NUMBER billetes de TRAIN a CITY
    """,
    named="""
    POLITE llama a NAME WHEN
    envía LETTERS a NAME
    dile a NAME que FOOD
    pregunta a NAME si puede TASK
    invita a NAME a cenar DAY
    dónde vive NAME ahora
    recuerda a NAME que tiene que TASK
    busca a NAME en CITY WHEN
    pon la última canción de NAME
    POLITE busca las fotos de NAME
    """,
    slots="""
    POLITE: | por favor | oye | ahora
    LUNCH: la sopa | el arroz | la carne | la pasta
    SWITCH: enciende | apaga | conecta | revisa
    DEVICE: la luz | la lámpara | la tele | la radio | la cafetera | la impresora | la estufa
    ROOM: de la cocina | del salón | del baño | del dormitorio | del garaje | del jardín
    | del pasillo
    WHEN: hoy | mañana | esta noche | esta tarde | después de comer | dentro de una hora | DAY
    DAY: el lunes | el martes | el miércoles | el jueves | el viernes | el sábado | el domingo
    HOUR: la una | las dos | las tres y media | las cuatro | las cinco y cuarto | las siete
    | las ocho | las nueve y media | las diez | las once
    NUMBER: dos | tres | cuatro | cinco | seis | ocho | diez | doce | quince | veinte | treinta
    TASK: regar las plantas | pasear al perro | pagar el alquiler | limpiar las ventanas
    | lavar el coche | hacer la maleta | firmar el contrato | devolver los libros
    | sacar la basura
    THING: leche | pan | manzanas | cebollas | café | azúcar | arroz | huevos | queso | tomates
    | sal
    MUSIC: un poco de jazz | música clásica | canciones antiguas | ópera | flamenco
    | canciones de cuna
    CITY: madrid | sevilla | lisboa | londres | parís | berlín | bogotá | lima | roma | toledo
    WEATHER: llover | nevar | hacer sol | hacer viento | hacer frío
    COLOUR: rojo | verde | azul | amarillo | naranja | blanco | morado
    SHUT: abre | cierra | vigila
    DOOR: la puerta | la ventana | las cortinas | la verja | las persianas | el buzón
    PLACE: una farmacia | un hotel | un banco | una panadería | un museo | un hospital
    | una biblioteca
    WAY: corto | rápido | seguro | barato | bonito
    LOUDER: sube | baja | aumenta | reduce
    LANGUAGE: francés | alemán | inglés | italiano | polaco | turco | ruso
    LETTERS: los mensajes | las cartas | los correos | las notas | las noticias
    TRAIN: tren | autobús | barco | avión | tranvía
    STORY: un chiste | un cuento | una historia | una adivinanza
    ANIMALS: gatos | perros | ballenas | pájaros | caballos | elefantes | dragones | arañas
    | ovejas
    FOOD: la sopa está lista | llegamos tarde | el pescado está frío | todo va bien | ya es hora
    """,
    homophones="""
    elena/helena jiménez/giménez rivas/ribas ortega/hortega enríquez/henríquez esteban/estevan
    iván/ibán débora/dévora ester/esther jerónimo/gerónimo beltrán/veltrán hugo/ugo
    germán/jermán marta/martha
    """,
    rare="""
    dugirón/dujirón brundove/vrundobe flocudón/flokudón cragredón/kragredón belerera/velerera
    drebato/drevato jolbisín/jolvisín armegis/armejis craginino/crajinino vlervoge/vlervoje
    nulbosán/nulvosán sultagín/sultajín conisalia/konisalia blortes/vlortes errirís/herrirís
    berbobino/verbobino lejaba/lejava nulugís/nulujís getege/geteje brillino/vrillino
    brinajo/vrinajo fembela/fenvela sambunón/sanvunón brestubel/vrestuvel crirmes/krirmes
    troltubel/troltuvel kitadis/quitadis groba/grova techubón/techuvón cranduso/kranduso
    hulvedo/ulbedo/ulvedo gibudino/givudino cakutón/kakutón durmigís/durmijís drimbudís/drinvudís
    trumbulán/trunvulán crirvanís/krirvanís gurbatuz/gurvatuz sobenalia/sovenalia
    lucoralia/lukoralia hirtón/irtón gerdenbel/gerdenvel grurcebín/grurcevín bimmores/vimmores
    benel/venel blifón/vlifón blebrubo/blevrubo/vlebrubo trelbles/trelvles basma/vasma bosnón/vosnón
    blumfufes/vlumfufes credán/kredán cornibón/cornivón/kornibón batiba/bativa caresbín/caresvín
    grafupubo/grafupuvo fabla/favla nurplubo/nurpluvo tumbecubo/tumbecuvo brismalia/vrismalia
    trebán/treván pirbrel/pirvrel benvifes/venvifes cosnubo/cosnuvo gestra/jestra
    crofiba/crofiva/krofiba tilolhubo/tilolubo/tiloluvo minplubo/minpluvo lapiba/lapiva
    relfubo/relfuvo casgán/kasgán bihán/vihán efel/hefel mantubo/mantuvo horbel/horvel/orbel
    folhiba/folhiva brubindán/vrubindán licrán/likrán blombra/blomvra bimerdro/vimerdro
    boldicrón/boldikrón doltrubo/doltruvo londriba/londriva brongo/vrongo huciba/huciva/uciba
    belosbro/belosvro/velosbro blanbres/blanvres bucingón/vucingón nanlusa/nanlusha
    rindrobín/rindrovín brasplán/vrasplán blolel/vlolel bifiba/bifiva puscalia/puskalia
    grornubo/grornuvo besnón/vesnón blenarvo/vlenarvo bucrinbel/bukrinbel/vucrinbel
    plipliba/plipliva brumcrel/brumkrel blamón/vlamón bultribes/bultrives
    adrisbel/adrisvel/hadrisbel cirretiba/cirretiva nesdecrón/nesdekrón gerno/jerno benplel/venplel
    curesgel/curesjel/kuresgel bleruscón/bleruskón/vleruscón bonbrón/vonbrón getrusgra/jetrusgra
    plamcro/plamkro dublubo/dubluvo crusbatro/crusvatro/krusbatro tredrubo/tredruvo
    emblurfa/emvlurfa cablón/cavlón/kablón ploncabín/ploncavín lanlacra/lanlakra pircuplín/pirkuplín
    """,
    unseen_dev="""
    caralia/karalia barbunán/varvunán jagrabín/jagravín bromboves/vrombobes tavobes/tavoves
    binido/vinido trombisán/tronvisán rambinín/ranvinín cromel/kromel tralbalia/tralvalia
    crachuda/krachuda tembalia/tenvalia
    """,
    unseen="""
    bolguntín/volguntín gudrosbra/gudrosvra pargubo/parguvo pocresplo/pokresplo bligunges/bligunjes
    grubrera/gruvrera erdrín/herdrín blepo/vlepo fembamvel/femvamvel blongubo/blonguvo culbón/culvón
    pantiba/pantiva
    """,
)
