//! How a program of Linnet ends: the codes of `sysexits.h`, by name.

use std::process::ExitCode;

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Ended as asked.
    Ok = 0,
    /// `EX_USAGE`: wrong use of the command line.
    Usage = 64,
    /// `EX_DATAERR`: an input is wrong, such as a package that fails its check.
    Data = 65,
    /// `EX_NOINPUT`: an input file is missing or cannot be read.
    NoInput = 66,
    /// `EX_UNAVAILABLE`: something that is needed does not answer, or belongs to another.
    Unavailable = 69,
    /// `EX_SOFTWARE`: a fault of the program.
    Software = 70,
    /// `EX_OSERR`: the operating system refused a thread or a signal handler.
    OsError = 71,
    /// `EX_CANTCREAT`: a file, directory or socket cannot be created.
    CannotCreate = 73,
    /// `EX_IOERR`: reading or writing failed.
    IoError = 74,
    /// `EX_CONFIG`: the configuration is wrong.
    Config = 78,
    /// Interrupted by Ctrl-C before the work was done (as a shell counts: 128 and the signal's number).
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
