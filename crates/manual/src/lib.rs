//! Manual pages, made from a program's own command line, so that a page can say nothing else than `--help`.
//!
//! clap_mangen writes what arguments are. What stands after them in `--help` has a form of its own here: a paragraph that begins with
//! `Example:` or `Examples:` becomes EXAMPLES, one that begins with `Exit codes` becomes EXIT STATUS, and any other NOTES.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its file's name, such as `linnet-models-add.1`.
    pub file: String,
    /// Its text, for `man`.
    pub roff: Vec<u8>,
}

/// The page of `command`, and one for each of its commands that `--help` shows, and so on. `section` is that of the manual: 1 for what anybody
/// runs, 8 for a daemon.
pub fn pages(command: Command, section: &str) -> io::Result<Vec<Page>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let version = command.get_version().unwrap_or_default().to_owned();
    let source = format!("{} {version}", command.get_name());
    let mut pages = Vec::new();
    add(&command, section, source.trim(), &mut pages)?;
    Ok(pages)
}

/// The page of `command` alone.
pub fn page(command: Command, section: &str) -> io::Result<Vec<u8>> {
    Ok(pages(command, section)?.into_iter().next().map(|page| page.roff).unwrap_or_default())
}

/// Writes every page into `dir`, which is made where it is missing.
pub fn write_pages(command: Command, section: &str, dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for page in pages(command, section)? {
        std::fs::write(dir.join(page.file), page.roff)?;
    }
    Ok(())
}

fn add(command: &Command, section: &str, source: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    let man = Man::new(command.clone()).section(section).source(source).manual("Linnet");
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut roff)?;
    }
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(&mut roff)?;
    }
    after_help(command, &mut roff)?;
    pages.push(Page { file: man.get_filename(), roff });
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        add(inner, section, source, pages)?;
    }
    Ok(())
}

/// What stands after the arguments, by what it is. Sections of one name follow each other in a manual, so each is gathered first.
fn after_help(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let help = command.get_after_long_help().or_else(|| command.get_after_help());
    let Some(help) = help.map(ToString::to_string) else { return Ok(()) };
    let mut exit = Vec::new();
    let mut examples = Vec::new();
    let mut notes = Vec::new();
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        match first.trim() {
            "Example:" | "Examples:" => {
                examples.extend(rest.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)))
            }
            other if other.starts_with("Exit codes") => exit.push(paragraph),
            _ => notes.push(paragraph),
        }
    }
    let mut roff = Roff::default();
    for (heading, paragraphs) in [("EXIT STATUS", exit), ("NOTES", notes)] {
        if !paragraphs.is_empty() {
            roff.control("SH", [heading]);
        }
        for (n, paragraph) in paragraphs.into_iter().enumerate() {
            if n > 0 {
                roff.control("PP", []);
            }
            // Filled by `man` to the reader's own width.
            let words = paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            roff.text([roman(words)]);
        }
    }
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("EX", []);
        for line in examples {
            roff.text([roman(line)]);
        }
        roff.control("EE", []);
    }
    roff.to_writer(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let inner =
            Command::new("inner").about("Goes in").after_help("Example:\n  tool a inner --force\n  .hidden 'line'");
        let a = Command::new("a").about("Is a").subcommand(inner);
        let hidden = Command::new("hidden").hide(true);
        let after = "Examples:\n  tool a\n\nA flag goes before.\n\nExit codes: 0 well,\n1 ill.";
        Command::new("tool").version("1.2.3").about("Does things").after_help(after).subcommands([a, hidden])
    }

    #[test]
    fn every_command_that_help_shows_has_a_page() {
        let pages = pages(program(), "8").expect("to memory");
        let names: Vec<_> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(names, ["tool.8", "tool-a.8", "tool-a-inner.8"]);
        let text = String::from_utf8(pages[2].roff.clone()).expect("UTF-8");
        assert!(text.contains("\"tool 1.2.3\"") && text.contains("Goes in"), "{text}");
    }

    #[test]
    fn what_stands_after_the_arguments_has_its_own_sections() {
        let text = String::from_utf8(page(program(), "1").expect("to memory")).expect("UTF-8");
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what} in {text}"));
        assert!(at("SH \"EXIT STATUS\"") < at("Exit codes: 0 well, 1 ill."));
        assert!(at("SH NOTES") < at("A flag goes before."));
        assert!(at("SH EXAMPLES") < at("\ntool a\n"));
        let inner = &pages(program(), "1").expect("to memory")[2].roff;
        let inner = String::from_utf8_lossy(inner);
        assert!(inner.contains("\\&.hidden"), "a line that begins with a dot is text: {inner}");
    }
}
