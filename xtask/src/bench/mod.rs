//! Measures what the project has an aim for, next to what it is compared to, all in one run.
//!
//! The helper programs are in `bench/`; each says in its first lines what it measures. What is compared is run
//! alternately, several times over, because the machine's own speed varies by more than some of the aims.

mod case;
mod table;
mod vfio;

use std::fs;
use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::ValueEnum;

use self::case::{Case, Figures, alternate};
use self::table::{Aim, Row};
use crate::clients::compile;
use crate::setup;
use crate::stage::Stage;
use crate::workspace::Workspace;

/// Where the helper programs are.
const SOURCES: &str = "bench";

/// How many functions the C file has that gcc compiles: enough for most of a second.
const FUNCTIONS_IN_C_FILE: usize = 200;

/// A lab in which a program may grant 100,000 pages, and map them.
const MANY_GRANTS: &str = "many-grants.toml";
const MANY_GRANTS_LAB: &str =
    "[xen]\ngntalloc_limit = 200000\n\n[[xen.domain]]\nid = 0\nmax_grant_frames = 512\n";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each figure is taken; the median counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only what ioctlab is compared to, to see what the machine gives
    #[arg(long)]
    without_ioctlab: bool,
    /// Measure only this
    #[arg(long, value_enum)]
    only: Option<Subject>,
}

/// What is measured, in this order.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    Calls,
    WakeUps,
    Grants,
    Channels,
    Vfio,
    StartUp,
    SlowDown,
}

/// Takes every figure, then prints the table.
pub(crate) fn measure(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::install(setup::EVERYTHING)?;
    let bench = Bench::prepare(workspace, options)?;
    let rows = bench.rows(options.only)?;
    println!(
        "Linux {}, {} processors, run as {}; medians of {} rounds.",
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        available_parallelism()?,
        bench.stage.user(),
        options.rounds
    );
    print!("{}", table::render(&rows));
    Ok(())
}

/// The helper programs, built and on a stage.
struct Bench {
    stage: Stage,
    rounds: u32,
    /// None if only what ioctlab is compared to is asked for.
    ioctlab: Option<PathBuf>,
}

impl Bench {
    fn prepare(workspace: &Workspace, options: &Options) -> Result<Self> {
        let stage = Stage::new()?;
        let sources = workspace.root().join(SOURCES);
        for entry in fs::read_dir(&sources).with_context(|| format!("can't read {}", sources.display()))? {
            let source = entry?.path();
            if source.extension().is_some_and(|extension| extension == "c") {
                let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                compile(&source, &stage.path(&name), &[])?;
            }
        }
        for recording in ["device.umockdev", "device.ioctl"] {
            stage.add(&sources.join("umockdev").join(recording))?;
        }
        fs::write(stage.home().join("big.c"), c_file(FUNCTIONS_IN_C_FILE))?;
        fs::write(stage.home().join(MANY_GRANTS), MANY_GRANTS_LAB)?;
        fs::write(stage.home().join(vfio::LAB), vfio::LAB_TEXT)?;
        let ioctlab = match options.without_ioctlab {
            true => None,
            false => Some(stage.add(&workspace.build_ioctlab()?)?),
        };
        Ok(Self { stage, rounds: options.rounds, ioctlab })
    }

    /// All rows, or those of one subject.
    fn rows(&self, only: Option<Subject>) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for &subject in
            Subject::value_variants().iter().filter(|&&subject| only.is_none_or(|only| only == subject))
        {
            eprintln!(
                "Measuring {}",
                subject
                    .to_possible_value()
                    .map_or_else(String::new, |value| value.get_name().replace('-', " "))
            );
            rows.extend(match subject {
                Subject::Calls => self.calls(),
                Subject::WakeUps => self.wake_ups(),
                Subject::Grants => self.grants(),
                Subject::Channels => self.channels(),
                Subject::Vfio => self.vfio(),
                Subject::StartUp => self.start_up(),
                Subject::SlowDown => self.slow_downs(),
            }?);
        }
        Ok(rows)
    }

    /// Runs the cases; those under ioctlab are left out if it isn't wanted.
    fn alternate(&self, cases: Vec<Option<Case>>) -> Result<Figures> {
        alternate(&self.stage, self.rounds, &cases.into_iter().flatten().collect::<Vec<_>>())
    }

    fn calls(&self) -> Result<Vec<Row>> {
        let umockdev =
            ["umockdev-run", "--device", "device.umockdev", "--ioctl", "/dev/bus/usb/001/011=device.ioctl"];
        let figures = self.alternate(vec![
            Some(Case::new("native", &["./nullioctl"])),
            Some(Case::new("bare", &["./bare_notify"])),
            self.under_ioctlab("ioctlab", &["./evtchn_calls"]),
            Some(Case::new("umockdev", &umockdev).then(&["--", "./umockdev_calls"])),
        ])?;
        let bare = ("a bare seccomp notification", figures.get("bare", "bare"));
        let native = ("a failing ioctl on /dev/null", figures.get("native", "null"));
        let umockdev = ("an ioctl under umockdev", figures.get("umockdev", "umockdev"));
        let reset = ("a call without data (RESET)", figures.get("ioctlab", "reset"));
        let notify = ("a call that reads 4 bytes (NOTIFY)", figures.get("ioctlab", "notify"));
        Ok(vec![
            Row::new(reset, bare, Aim::Ratio(1.25)),
            Row::new(reset, native, Aim::None),
            Row::new(notify, bare, Aim::Ratio(1.8)),
            Row::new(notify, umockdev, Aim::None),
        ])
    }

    /// The scheduler may put the two processes on one processor or on two, which matters more than anything else, so
    /// both are measured apart from what it chooses by itself.
    fn wake_ups(&self) -> Result<Vec<Row>> {
        let pin = ["taskset", "--cpu-list", &first_allowed_cpu()?];
        let mut cases = vec![
            Some(Case::new("pipe", &["./pingpong_pipe"])),
            self.under_ioctlab("evtchn", &["./pingpong_evtchn"]),
            Some(Case::new("pipe, one", &pin).then(&["./pingpong_pipe"])),
            self.under_ioctlab("evtchn, one", &["./pingpong_evtchn"]).map(|case| case.behind(&pin)),
        ];
        if available_parallelism()?.get() > 1 {
            cases.push(Some(Case::new("pipe, two", &["./pingpong_pipe", "apart"])));
            cases.push(self.under_ioctlab("evtchn, two", &["./pingpong_evtchn", "apart"]));
        }
        let figures = self.alternate(cases)?;
        let row = |label, name, base, figure, aim| {
            let compared_to = ("the same over a pipe", figures.get(base, figure));
            Row::new((label, figures.get(name, figure)), compared_to, aim)
        };
        Ok(vec![
            row("NOTIFY to read in another process", "evtchn", "pipe", "oneway", Aim::Ratio(2.0)),
            row("... on another processor", "evtchn, two", "pipe, two", "oneway", Aim::Ratio(2.0)),
            row("... on the same processor", "evtchn, one", "pipe, one", "oneway", Aim::None),
            row("half a round trip, with unmasking", "evtchn", "pipe", "half", Aim::None),
            row("... on two processors", "evtchn, two", "pipe, two", "half", Aim::None),
        ])
    }

    /// Mapping another domain's pages, and copying to them. What a map costs must not depend on how many grants there are.
    fn grants(&self) -> Result<Vec<Row>> {
        let many =
            |name, live: &[&str]| Some(self.in_lab(MANY_GRANTS, name, &["./gnttab_calls"])?.then(live));
        let figures = self.alternate(vec![
            Some(Case::new("bare", &["./bare_notify"])),
            many("100", &["100"]),
            many("100,000", &["100000"]),
            many("100,000 mapped", &["100000", "mapped"]),
        ])?;
        let bare = ("a bare seccomp notification", figures.get("bare", "bare"));
        let few = |label, figure| (label, figures.get("100", figure));
        let one = few("map, mmap, munmap, unmap of 1 page", "map1");
        Ok(vec![
            Row::new(one, bare, Aim::None),
            Row::new(few("... of 64 pages", "map64"), ("of 1 page", one.1), Aim::None),
            Row::new(
                ("... of 1 page, 100,000 live grants", figures.get("100,000", "map1")),
                ("100", one.1),
                Aim::Ratio(1.15),
            ),
            Row::new(
                ("... which are mapped", figures.get("100,000 mapped", "map1")),
                ("100", one.1),
                Aim::Ratio(1.15),
            ),
            Row::new(few("GRANT_COPY of 4 KiB", "copy4k"), bare, Aim::None),
        ])
    }

    /// A stream of 64 KiB pieces, and ping-pong of 64 bytes, through libxenvchan.
    fn channels(&self) -> Result<Vec<Row>> {
        let mut cases = vec![
            Some(Case::new("pipe", &["./channel_plain", "pipe"])),
            Some(Case::new("socket", &["./channel_plain", "socket"])),
            self.under_ioctlab("vchan", &["./vchan_bench"]),
            self.under_ioctlab("vchan, 1 MiB", &["env", "RING=1048576", "./vchan_bench"]),
        ];
        if available_parallelism()?.get() > 1 {
            cases.push(Some(Case::new("pipe, two", &["./channel_plain", "pipe", "apart"])));
            cases.push(self.under_ioctlab("vchan, two", &["./vchan_bench", "apart"]));
        }
        let figures = self.alternate(cases)?;
        let row = |label, name, base: &'static str, figure, aim| {
            let over = if base.starts_with("pipe") { "the same over a pipe" } else { "over a Unix socket" };
            Row::new((label, figures.get(name, figure)), (over, figures.get(base, figure)), aim)
        };
        Ok(vec![
            row("64 KiB by vchan, rings of 1 MiB", "vchan, 1 MiB", "pipe", "stream", Aim::Ratio(1.0)),
            row("... rings of 64 KiB, as a pipe has", "vchan", "pipe", "stream", Aim::Ratio(1.0)),
            row("... rings of 1 MiB", "vchan, 1 MiB", "socket", "stream", Aim::None),
            row("half a round trip by vchan", "vchan", "pipe", "half", Aim::Ratio(2.5)),
            row("... on two processors", "vchan, two", "pipe, two", "half", Aim::Ratio(2.5)),
            row("half a round trip by vchan", "vchan", "socket", "half", Aim::None),
        ])
    }

    fn start_up(&self) -> Result<Vec<Row>> {
        let umockdev = ["umockdev-run", "--device", "device.umockdev", "--", "true"];
        let timed = ["./timed", "5"];
        let figures = self.alternate(vec![
            Some(Case::new("plain", &timed).then(&["true"])),
            self.under_ioctlab("ioctlab", &["true"]).map(|case| case.behind(&timed)),
            Some(Case::new("umockdev", &timed).then(&umockdev)),
        ])?;
        let started = ("ioctlab run -- true", figures.get("ioctlab", "wall"));
        let umockdev = ("umockdev-run, one device", figures.get("umockdev", "wall"));
        let plain = ("true by itself", figures.get("plain", "wall"));
        Ok(vec![Row::new(started, umockdev, Aim::Nanoseconds(20e6)), Row::new(started, plain, Aim::None)])
    }

    fn slow_downs(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for workload in workloads(&self.stage.home().join("big.c").to_string_lossy()) {
            eprintln!("... of {}", workload.name);
            rows.extend(self.slow_down(&workload)?);
        }
        Ok(rows)
    }

    /// What running under ioctlab costs a program that doesn't use its devices; the start-up isn't counted. Beside it, what
    /// a seccomp filter costs that does nothing, as no filter costs less.
    fn slow_down(&self, workload: &Workload) -> Result<Vec<Row>> {
        let timed = [&["./timed", workload.count], workload.command.as_slice()].concat();
        let figures = self.alternate(vec![
            Some(Case::new("alone", &timed)),
            Some(Case::new("filter", &["./allow_all"]).then(&timed)),
            self.under_ioctlab("ioctlab", &timed),
        ])?;
        let measured = (workload.name, figures.get("ioctlab", "wall"));
        let filtered = ("under a filter that allows all", figures.get("filter", "wall"));
        let alone = ("by itself", figures.get("alone", "wall"));
        Ok(vec![Row::new(measured, alone, Aim::Ratio(workload.aim)), Row::new(measured, filtered, Aim::None)])
    }

    fn under_ioctlab(&self, name: &'static str, command: &[&str]) -> Option<Case> {
        let ioctlab = self.ioctlab.as_ref()?.to_string_lossy();
        Some(Case::new(name, &[&ioctlab, "run", "--"]).then(command))
    }

    /// The same in a lab of its own, one of those that were prepared.
    fn in_lab(&self, lab: &str, name: &'static str, command: &[&str]) -> Option<Case> {
        let ioctlab = self.ioctlab.as_ref()?.to_string_lossy();
        let lab = self.stage.home().join(lab);
        Some(Case::new(name, &[&ioctlab, "run", "--lab", &lab.to_string_lossy(), "--"]).then(command))
    }
}

/// A program that doesn't use the devices.
struct Workload<'a> {
    name: &'static str,
    /// How often it is run for one figure.
    count: &'static str,
    command: Vec<&'a str>,
    aim: f64,
}

fn workloads(c_file: &str) -> Vec<Workload<'_>> {
    // A directory that can't be read is no failure of the measurement.
    let find = "find /usr 2>/dev/null || true";
    let dd = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=1500000", "status=none"];
    vec![
        Workload { name: "find /usr", count: "3", command: vec!["sh", "-c", find], aim: 1.05 },
        Workload {
            name: "gcc -O1 of one C file",
            count: "1",
            command: vec!["gcc", "-O1", "-c", "-o", "/dev/null", c_file],
            aim: 1.15,
        },
        Workload { name: "dd bs=1 of 1.5 MB", count: "1", command: dd.to_vec(), aim: 1.15 },
        Workload { name: "python3 -c pass", count: "15", command: vec!["python3", "-c", "pass"], aim: 1.15 },
    ]
}

/// A C file that is the same on every machine, with the usual headers and plain loops.
fn c_file(functions: usize) -> String {
    let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for index in 0..functions {
        text.push_str(&format!(
            "long work{index}(const char *s, int n)\n{{\n\tlong sum = {index};\n\tfor (int i = 0; i < n; i++) {{\n\
             \t\tswitch (s[i] % 5) {{\n\t\tcase 0: sum += strlen(s); break;\n\t\tcase 1: sum ^= i * {index}; break;\n\
             \t\tcase 2: sum = labs(sum - n); break;\n\t\tdefault: sum = sum * 31 + s[i];\n\t\t}}\n\t}}\n\
             \tprintf(\"%ld\\n\", sum);\n\treturn sum;\n}}\n"
        ));
    }
    text
}

/// A processor that this process may run on, for taskset.
fn first_allowed_cpu() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next());
    Ok(first.context("/proc/self/status doesn't say which processors are allowed")?.to_owned())
}
