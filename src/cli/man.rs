//! `obsdiff man`: manual pages.

use std::io::Write;
use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::help::full_command;
use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};

/// Prints the manual pages, or writes them into a folder
///
/// To read one: obsdiff man ~/.local/share/man/man1 && man obsdiff-prune
#[derive(clap::Args)]
pub struct Args {
    /// Folder for obsdiff.1, obsdiff-prune.1 and so on, where older ones are replaced; all are printed without it
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What the exit codes mean.
const EXIT_CODES: [(&str, &str); 7] = [
    ("0", "Done"),
    ("1", "A check failed"),
    ("2", "The command line or the recipe makes no sense"),
    ("3", "An input is refused, or a model cannot be had"),
    ("4", "A number that cannot be computed with"),
    ("5", "Memory or disk is full or would not suffice"),
    ("130", "Interrupted"),
];

/// The variables that change what the program does.
const VARIABLES: [(&str, &str); 9] = [
    ("HF_TOKEN", "The token that is sent to the hub, before the one that a login has stored"),
    ("HF_HOME", "Folder of the hub's cache (in hub) and token [default: ~/.cache/huggingface]"),
    ("HF_HUB_CACHE", "Folder of the hub's cache [default: $HF_HOME/hub]"),
    ("HF_HUB_OFFLINE", "With 1, models are taken from the cache without a request"),
    ("HF_ENDPOINT", "Address of the hub [default: https://huggingface.co]"),
    ("HF_HUB_DOWNLOAD_TIMEOUT", "Seconds that a download may stand still [default: 10]"),
    ("HF_HUB_DISABLE_PROGRESS_BARS", "With 1, downloads show no bar"),
    ("RAYON_NUM_THREADS", "Threads that compute [default: one per core]"),
    ("OBSDIFF_LOG", "What is logged, such as obsdiff=debug [default: obsdiff=info]"),
];

/// Prints or writes the pages.
///
/// # Errors
/// [`Error::Io`], [`Error::DiskFull`].
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let pages = pages().map_err(|e| Error::io("the manual pages", e))?;
    let Some(folder) = &args.folder else {
        let all: Vec<String> = pages.into_iter().map(|(_, page)| page).collect();
        return super::print(out, &all.concat());
    };
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut written = String::new();
    for (name, page) in pages {
        let path = folder.join(name);
        write_atomic(&path, page.as_bytes())?;
        written.push_str(&format!("wrote {}\n", path.display()));
    }
    super::print(out, &written)
}

/// The page of the program and one for each command, by file name.
fn pages() -> std::io::Result<Vec<(String, String)>> {
    let mut program = full_command().disable_help_subcommand(true);
    program.build();
    let commands: Vec<Command> = program.get_subcommands().cloned().collect();
    std::iter::once(program).chain(commands).map(page).collect()
}

fn page(command: Command) -> std::io::Result<(String, String)> {
    let is_program = command.has_subcommands();
    let man = Man::new(command).source(concat!("obsdiff ", env!("CARGO_PKG_VERSION"))).manual("obsdiff manual");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if is_program {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    if is_program {
        section("ENVIRONMENT", &VARIABLES).to_writer(&mut text)?;
    }
    section("EXIT STATUS", &EXIT_CODES).to_writer(&mut text)?;
    Ok((man.get_filename(), String::from_utf8_lossy(&text).into_owned()))
}

/// A section of terms and what they mean.
fn section(title: &str, entries: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}
