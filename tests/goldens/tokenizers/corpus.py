"""Sentences written for these goldens: what the tiny tokenizers are trained on, and what they are asked about."""

TRAINING = """
The little bird sits on the old wooden fence and sings in the morning.
Please turn on the kitchen light and close the window before it rains.
She said that the train to the city would leave at seven o'clock.
How many people are waiting in front of the small shop today?
I don't think they've seen the new garden; it's behind the house.
Der kleine Vogel sitzt auf dem alten Zaun und singt am Morgen.
Bitte mach das Licht in der Küche an und schließe das Fenster.
Heute scheint die Sonne, aber morgen soll es wieder regnen.
Wie viele Leute warten vor dem kleinen Geschäft?
Le petit oiseau est assis sur la vieille clôture et chante le matin.
S'il vous plaît, allumez la lumière de la cuisine et fermez la fenêtre.
Aujourd'hui il fait beau, mais demain il pleuvra peut-être.
El pajarito está sentado en la vieja valla y canta por la mañana.
¿Cuántas personas esperan delante de la pequeña tienda?
Por favor, enciende la luz de la cocina y cierra la ventana.
Маленькая птица сидит на старом заборе и поёт утром.
Пожалуйста, включи свет на кухне и закрой окно.
Сегодня светит солнце, а завтра снова будет дождь.
الطائر الصغير يجلس على السياج القديم ويغني في الصباح.
من فضلك أشعل الضوء في المطبخ وأغلق النافذة.
اليوم تشرق الشمس وغدا سوف تمطر.
הציפור הקטנה יושבת על הגדר הישנה ושרה בבוקר.
小鸟早上坐在旧篱笆上唱歌。请打开厨房的灯，关上窗户。
今天阳光明媚，明天又要下雨了。有多少人在小商店门前等着？
小さな鳥が朝、古い垣根の上で歌っています。
台所の明かりをつけて、窓を閉めてください。
작은 새가 아침에 낡은 울타리에 앉아 노래합니다.
부엌 불을 켜고 창문을 닫아 주세요.
छोटी चिड़िया सुबह पुरानी बाड़ पर बैठकर गाती है।
कृपया रसोई की बत्ती जलाइए और खिड़की बंद कर दीजिए।
นกตัวน้อยนั่งบนรั้วเก่าและร้องเพลงในตอนเช้า
Küçük kuş sabahları eski çitin üzerinde oturup şarkı söyler.
Con chim nhỏ đậu trên hàng rào cũ và hót vào buổi sáng.
Το μικρό πουλί κάθεται στον παλιό φράχτη και τραγουδά το πρωί.
Mały ptak siedzi na starym płocie i śpiewa rano.
def add(left, right): return left + right  # 12 + 30 = 42
for (int i = 0; i < 10; i++) { total += values[i] * 2; }
{"name": "bird", "count": 3, "tags": ["small", "grey"]}
""".strip().split("\n")

PLAIN = [
    "The little bird sings in the morning.",
    "Don't they've it's I'm we're; he said: 'no' and \"yes\"!",
    "Der Vogel schließt das Fenster, größer als gestern.",
    "Le garçon mange l'été à Noël, n'est-ce pas ?",
    "¿Dónde está la niña? ¡Aquí!",
    "Птица поёт утром на заборе.",
    "الطائر يغني في الصباح، أليس كذلك؟",
    "הציפור שרה בבוקר",
    "小鸟在唱歌。你好，世界！",
    "台所の明かりをつけてください。",
    "부엌 불을 켜 주세요.",
    "छोटी चिड़िया गाती है।",
    "นกตัวน้อยร้องเพลง",
    "Con chim nhỏ hót vào buổi sáng.",
    "Mixed English и русский と日本語 وعربي in one line",
    "1234567890 3.14 1,000,000 -5 42%",
    "https://example.org/a_b?c=d&e=f#g user@example.org",
    "def f(x):\n    if x > 0:\n\t\treturn x ** 2\n",
    "UPPER lower CamelCase snake_case kebab-case",
]

SPACES = [
    "",
    " ",
    "   ",
    " leading space",
    "  two leading",
    "trailing space ",
    "trailing two  ",
    "in  side   runs    of spaces",
    "line\nbreak",
    "two\n\nbreaks and\r\nwindows",
    "tab\tand\vothers\f.",
    "\n",
    "\t\ttabs",
    "no-break\u00a0space and ideographic\u3000space and thin\u2009space",
    "zero\u200bwidth\u200dand\ufeffmark",
    "under\u2581line \u2581 \u2581\u2581 mark",
]

ODD = [
    "e\u0301 combining \u0041\u030a n\u0303 \u1e9b\u0323",
    "ﬁne ﬀ ½ ① ｆｕｌｌ ｗｉｄｔｈ Ⅳ ㎏",
    "emoji 😀👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ end",
    "𝒜𝓁𝑔𝑒𝒷𝓇𝒶 and 𐍈𐌰 and 𠀀",
    "nul\0inside and bell\x07 and del\x7f",
    "\u0000",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...,,,;;;:::---___***",
    "\u202eright to left\u202c mark",
    "ß ẞ İ ı ǅ ŉ",
    "unk ☃ ⚑ ꙮ 🜁 runs ☃☃☃ ☃a☃",
    "<0x41> <0xE2><0x98><0x83>",
]

# Words that are control tokens of one family or another, in a user's text.
CONTROL = [
    "<s> hello </s>",
    "hello</s>world",
    "<unk> <pad> <mask>",
    "a <mask> b<mask>c  <mask>  d",
    "<extra_id_0> and <extra_id_99>x",
    ">>fra<< hello",
    "mid >>fra<< dle",
    "__en__ hello __fr__",
    "eng_Latn fra_Latn",
    "en_XX de_DE",
    "<|endoftext|>x<|startoftranscript|><|en|><|0.00|>",
    "[CLS] hello [SEP] [MASK][PAD] [UNK]",
    "<bos><start_of_turn>user\nhi<end_of_turn>\n",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<think> a </think> <tool_call>{}</tool_call>",
    "<custom>x <custom> y",
]

ALL = PLAIN + SPACES + ODD + CONTROL
