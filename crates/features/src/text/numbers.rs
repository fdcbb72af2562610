//! Numbers in English words.

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// Longer numbers are read digit by digit.
const MOST_DIGITS: usize = 9;

/// A number at the beginning of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// Its words, one blank between.
    pub(super) words: String,
    /// How many characters of the text it takes.
    pub(super) chars: usize,
}

/// Reads the number that `text`, which begins with a digit, begins with: digits, commas between groups of three, a
/// decimal part, or the ending of an ordinal.
pub(super) fn read(text: &[char]) -> Number {
    let (digits, mut chars) = whole_part(text);
    let spelled = digits.len() <= MOST_DIGITS && (digits.len() == 1 || digits[0] != 0);
    let mut words = if spelled { cardinal(value(&digits)) } else { one_by_one(&digits) };
    let decimals = decimals(&text[chars..]);
    if !decimals.is_empty() {
        words = format!("{words} point {}", one_by_one(&decimals));
        chars += 1 + decimals.len();
    } else if spelled && has_ordinal_ending(&text[chars..]) {
        words = ordinal(words);
        chars += 2;
    }
    Number { words, chars }
}

/// Digits up to the decimal point, and how many characters they take. Commas count where they part groups of three.
fn whole_part(text: &[char]) -> (Vec<u32>, usize) {
    let run = |at: usize| text[at..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut end = run(0);
    let mut digits = to_digits(&text[..end]);
    if end <= 3 {
        while text.get(end) == Some(&',') && run(end + 1) == 3 {
            digits.extend(to_digits(&text[end + 1..end + 4]));
            end += 4;
        }
    }
    (digits, end)
}

/// Digits after a point; none where another point follows (an address, a date, a version).
fn decimals(text: &[char]) -> Vec<u32> {
    if text.first() != Some(&'.') {
        return Vec::new();
    }
    let digits = to_digits(&text[1..]);
    let followed =
        text.get(digits.len() + 1) == Some(&'.') && text.get(digits.len() + 2).is_some_and(char::is_ascii_digit);
    if followed { Vec::new() } else { digits }
}

fn to_digits(text: &[char]) -> Vec<u32> {
    text.iter().map_while(|c| c.to_digit(10)).collect()
}

fn value(digits: &[u32]) -> u32 {
    digits.iter().fold(0, |sum, digit| 10 * sum + digit)
}

fn one_by_one(digits: &[u32]) -> String {
    digits.iter().map(|d| ONES[*d as usize]).collect::<Vec<_>>().join(" ")
}

/// `st`, `nd`, `rd` or `th` at a word's end.
fn has_ordinal_ending(text: &[char]) -> bool {
    let ends = matches!(text, ['s', 't', ..] | ['n', 'd', ..] | ['r', 'd', ..] | ['t', 'h', ..]);
    ends && !text.get(2).is_some_and(char::is_ascii_alphanumeric)
}

/// A number below a billion in words, without `and`: `one hundred twenty three`.
fn cardinal(number: u32) -> String {
    if number == 0 {
        return ONES[0].to_owned();
    }
    let mut words = Vec::new();
    for (size, name) in [(1_000_000, "million"), (1000, "thousand"), (1, "")] {
        let group = number / size % 1000;
        if group == 0 {
            continue;
        }
        if group >= 100 {
            words.extend([ONES[(group / 100) as usize], "hundred"]);
        }
        match group % 100 {
            0 => {}
            below @ 1..20 => words.push(ONES[below as usize]),
            tens => {
                words.push(TENS[(tens / 10) as usize]);
                if tens % 10 > 0 {
                    words.push(ONES[(tens % 10) as usize]);
                }
            }
        }
        if !name.is_empty() {
            words.push(name);
        }
    }
    words.join(" ")
}

/// The ordinal of a cardinal: only its last word changes.
fn ordinal(mut words: String) -> String {
    let start = words.rfind(' ').map_or(0, |blank| blank + 1);
    let last = words.split_off(start);
    words.push_str(&match last.as_str() {
        "one" => "first".to_owned(),
        "two" => "second".to_owned(),
        "three" => "third".to_owned(),
        "five" => "fifth".to_owned(),
        "eight" => "eighth".to_owned(),
        "nine" => "ninth".to_owned(),
        "twelve" => "twelfth".to_owned(),
        other => match other.strip_suffix('y') {
            Some(stem) => format!("{stem}ieth"),
            None => format!("{other}th"),
        },
    });
    words
}
