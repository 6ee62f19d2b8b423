//! Where commands print: data to standard output, everything else to standard error. Colour, symbols and width are decided
//! here, once.

use std::ffi::OsStr;
use std::io::{IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use comfy_table::{ContentArrangement, Table, presets};

/// Width where no terminal says otherwise, in columns.
const WIDTH: u16 = 80;
/// Narrowest table that can be read, in columns.
const NARROWEST: u16 = 60;
/// Longest answer to a question, in bytes.
const LONGEST_ANSWER: usize = 1024;
/// Longest file that is read, in bytes: far more than any manifest.
const LONGEST: u64 = 16 << 20;

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a line says about the state of something: a symbol and, beside it in the text, always a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Good,
    Bad,
    Warning,
    Unknown,
    Info,
}

impl Mark {
    /// Symbol, its ASCII form, and the number of its ANSI colour.
    const fn look(self) -> (&'static str, &'static str, u8) {
        match self {
            Self::Good => ("✔", "+", 32),
            Self::Bad => ("✖", "x", 31),
            Self::Warning => ("‼", "!", 33),
            Self::Unknown => ("?", "?", 35),
            Self::Info => ("·", "-", 36),
        }
    }
}

/// What a test sees of a stream.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    /// Everything that was written so far, which is taken out.
    #[must_use]
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether somebody is there who can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Present,
    Absent,
}

impl Person {
    const fn there(is: bool) -> Self {
        if is { Self::Present } else { Self::Absent }
    }
}

/// Where a command prints.
pub struct Console {
    output: Box<dyn Write + Send>,
    errors: Box<dyn Write + Send>,
    input: Box<dyn Read + Send>,
    /// Whether a person can be asked.
    person: Person,
    coloured: bool,
    /// What `Auto` means here.
    coloured_by_itself: bool,
    unicode: bool,
    width: u16,
}

impl Console {
    /// The streams of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let coloured = wants_colour(terminal, set("NO_COLOR").as_deref(), set("TERM").as_deref());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let unicode = has_unicode(locale.as_deref());
        let width = rustix::termios::tcgetwinsize(std::io::stdout())
            .ok()
            .filter(|_| terminal)
            .map_or(WIDTH, |size| size.ws_col.max(NARROWEST));
        Self {
            output: Box::new(std::io::stdout()),
            errors: Box::new(std::io::stderr()),
            input: Box::new(std::io::stdin()),
            person: Person::there(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()),
            coloured,
            coloured_by_itself: coloured,
            unicode,
            width,
        }
    }

    /// A console for tests, with what it will hold of standard output and standard error.
    #[must_use]
    pub fn capturing(input: &str, width: u16) -> (Self, Capture, Capture) {
        let (output, errors) = (Capture::default(), Capture::default());
        let console = Self {
            output: Box::new(output.clone()),
            errors: Box::new(errors.clone()),
            input: Box::new(std::io::Cursor::new(input.to_owned())),
            person: Person::there(!input.is_empty()),
            coloured: false,
            coloured_by_itself: false,
            unicode: true,
            width,
        };
        (console, output, errors)
    }

    pub(crate) fn colour(&mut self, choice: ColourChoice) {
        self.coloured = match choice {
            ColourChoice::Auto => self.coloured_by_itself,
            ColourChoice::Always => true,
            ColourChoice::Never => false,
        };
    }

    /// Data, for standard output. A reader that has gone away is no error.
    pub(crate) fn print(&mut self, text: &str) {
        let text = if self.unicode { text.to_owned() } else { ascii(text) };
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let _ = write!(self.output, "{text}{end}").and_then(|()| self.output.flush());
    }

    /// Data for programs, for standard output: not one letter is changed.
    pub(crate) fn data(&mut self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let _ = write!(self.output, "{text}{end}").and_then(|()| self.output.flush());
    }

    /// A message, for standard error.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = writeln!(self.errors, "{text}").and_then(|()| self.errors.flush());
    }

    /// A text of the argument parser.
    pub(crate) fn raw(&mut self, text: &str, good: bool) {
        let stream = if good { &mut self.output } else { &mut self.errors };
        let _ = write!(stream, "{text}").and_then(|()| stream.flush());
    }

    /// Everything on standard input.
    pub(crate) fn read_input(&mut self) -> std::io::Result<String> {
        bounded(&mut self.input)
    }

    /// Asks a person for one line; `None` where nobody can be asked.
    pub(crate) fn ask(&mut self, question: &str) -> Option<String> {
        if self.person == Person::Absent {
            return None;
        }
        let _ = write!(self.errors, "{question} ").and_then(|()| self.errors.flush());
        let mut line = Vec::new();
        let mut letter = [0_u8; 1];
        // Letter by letter: what comes behind the line is not ours.
        while line.len() < LONGEST_ANSWER && matches!(self.input.read(&mut letter), Ok(1)) && letter != *b"\n" {
            line.extend_from_slice(&letter);
        }
        Some(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// Symbol and words, in the symbol's colour.
    pub(crate) fn marked(&self, mark: Mark, words: &str) -> String {
        let (symbol, ascii, colour) = mark.look();
        let symbol = if self.unicode { symbol } else { ascii };
        self.painted(colour, &format!("{symbol} {words}"))
    }

    pub(crate) fn alarming(&self, words: &str) -> String {
        self.painted(31, words)
    }

    pub(crate) fn heading(&self, words: &str) -> String {
        self.painted(1, &format!("= {words} ="))
    }

    fn painted(&self, colour: u8, text: &str) -> String {
        if self.coloured {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A table as wide as the terminal.
    pub(crate) fn table(&self, titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.width)
            .set_header(titles.iter().copied());
        for row in rows {
            table.add_row(row);
        }
        let text = table.to_string();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

/// What `Auto` means (no-color.org, clig.dev); variables that are set to nothing count as unset.
fn wants_colour(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    terminal && no_color.is_none() && term.is_none_or(|term| term != "dumb")
}

/// Whether the locale can show more than ASCII.
fn has_unicode(locale: Option<&OsStr>) -> bool {
    locale.is_some_and(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Text of a stream, up to what a manifest can be.
pub(crate) fn bounded(stream: &mut dyn Read) -> std::io::Result<String> {
    let mut text = String::new();
    stream.take(LONGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
        return Err(std::io::Error::other("it is longer than 16 MiB"));
    }
    Ok(text)
}

/// What stands for the letters that we use outside of ASCII.
fn ascii(text: &str) -> String {
    text.replace('→', "->").replace('…', "...").replace('·', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_never_the_only_sign_and_only_there_where_it_is_wanted() {
        let (mut console, _, _) = Console::capturing("", 80);
        assert_eq!(console.marked(Mark::Bad, "BLOCKED"), "✖ BLOCKED");
        console.colour(ColourChoice::Always);
        assert_eq!(console.marked(Mark::Bad, "BLOCKED"), "\u{1b}[31m✖ BLOCKED\u{1b}[0m");
        console.colour(ColourChoice::Auto);
        assert_eq!(console.alarming("error:"), "error:");
        console.unicode = false;
        assert_eq!(console.marked(Mark::Good, "READY"), "+ READY");
    }

    #[test]
    fn colour_and_symbols_follow_the_terminal_and_its_variables() {
        let (set, dumb, xterm) = (
            Some(OsStr::new("1")),
            Some(OsStr::new("dumb")),
            Some(OsStr::new("xterm")),
        );
        assert!(wants_colour(true, None, xterm) && wants_colour(true, None, None));
        assert!(!wants_colour(false, None, xterm), "no terminal");
        assert!(!wants_colour(true, set, xterm), "NO_COLOR");
        assert!(!wants_colour(true, None, dumb), "TERM=dumb");
        for (locale, unicode) in [("de_DE.UTF-8", true), ("C.utf8", true), ("C", false), ("POSIX", false)] {
            assert_eq!(has_unicode(Some(OsStr::new(locale))), unicode, "{locale}");
        }
        assert!(!has_unicode(None));
    }

    #[test]
    fn without_a_utf_8_locale_text_is_ascii_and_data_stays_as_it_is() {
        let (mut console, output, _) = Console::capturing("", 80);
        console.unicode = false;
        console.print("2.30.6 → 2.31.0");
        console.data("2.30.6 → 2.31.0");
        assert_eq!(output.take(), "2.30.6 -> 2.31.0\n2.30.6 → 2.31.0\n");
    }

    #[test]
    fn a_table_is_as_wide_as_the_terminal() {
        let (console, _, _) = Console::capturing("", 60);
        let table = console.table(&["A", "B"], [vec!["word ".repeat(30), "word ".repeat(30)]]);
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| (40..=60).contains(&widest)), "{table}");
    }

    #[test]
    fn input_without_end_is_not_read_to_its_end() {
        let mut endless = std::io::repeat(b'a');
        assert!(bounded(&mut endless).is_err());
    }
}
