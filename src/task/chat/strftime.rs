//! `strftime_now`: the time of day, formatted as C does it in its own locale.

use crate::sys::clock::civil_from_days;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment on the clock on the wall.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// From 0, which is Sunday.
    day_of_week: u64,
    second_of_day: u64,
}

impl Moment {
    pub(super) fn from_wall_secs(secs: u64) -> Self {
        let days = secs / 86_400;
        let (year, month, day) = civil_from_days(days);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][(month - 1) as usize];
        let day_of_year = before + day + u64::from(is_leap && month > 2);
        // 1970-01-01 was a Thursday.
        Self { year, month, day, day_of_year, day_of_week: (days + 4) % 7, second_of_day: secs % 86_400 }
    }

    /// Directives that are not known stand as they are.
    pub(super) fn format(&self, format: &str) -> String {
        let mut out = String::new();
        let mut rest = format.chars();
        while let Some(character) = rest.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            let mut next = rest.next();
            // `%-d` of GNU: without zeros in front.
            let is_bare = next == Some('-');
            if is_bare {
                next = rest.next();
            }
            match next.and_then(|directive| self.directive(directive)) {
                Some(text) if is_bare && text.len() > 1 => {
                    let bare = text.trim_start_matches(['0', ' ']);
                    out.push_str(if bare.is_empty() { "0" } else { bare });
                }
                Some(text) => out.push_str(&text),
                None => {
                    out.push('%');
                    out.extend(is_bare.then_some('-'));
                    out.extend(next);
                }
            }
        }
        out
    }

    fn directive(&self, directive: char) -> Option<String> {
        let (hour, minute, second) = (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60);
        let half = if hour % 12 == 0 { 12 } else { hour % 12 };
        let day_name = DAYS[self.day_of_week as usize];
        let month_name = MONTHS[(self.month - 1) as usize];
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'H' => format!("{hour:02}"),
            'I' => format!("{half:02}"),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'f' => "000000".to_owned(),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'A' => day_name.to_owned(),
            'a' => day_name[..3].to_owned(),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name[..3].to_owned(),
            'w' => self.day_of_week.to_string(),
            'u' => if self.day_of_week == 0 { 7 } else { self.day_of_week }.to_string(),
            'F' => self.format("%Y-%m-%d"),
            'D' | 'x' => self.format("%m/%d/%y"),
            'T' | 'X' => self.format("%H:%M:%S"),
            'R' => self.format("%H:%M"),
            'c' => self.format("%a %b %e %H:%M:%S %Y"),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            // Of a moment without a zone, as Python has it.
            'z' | 'Z' => String::new(),
            _ => return None,
        })
    }
}
