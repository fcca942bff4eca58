//! Labs that several runs share.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::job::{SOON, until};
use crate::stage::{Isolation, Stage};

/// A shared lab; taken down with its stage, if not before.
pub(crate) struct Lab<'a> {
    stage: &'a Stage,
    name: String,
}

impl<'a> Lab<'a> {
    /// Brings up the built-in lab.
    pub(crate) fn up(stage: &'a Stage) -> Self {
        Self::up_with(stage, &[])
    }

    /// Brings up a lab with these options.
    pub(crate) fn up_with(stage: &'a Stage, options: &[&str]) -> Self {
        let name = stage.lab_name();
        stage.finish(stage.ioctlab(["up"]).args(options).arg(&name)).succeeds().prints(&name);
        Self { stage, name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `ioctlab run` in it, up to the program.
    pub(crate) fn run(&self, isolation: Option<Isolation>, domain: Option<u16>) -> Command {
        let mut command = self.stage.ioctlab(["run", "--in", &self.name]);
        if let Some(isolation) = isolation {
            command.args(["--isolation", isolation.name()]);
        }
        if let Some(domain) = domain {
            command.args(["--domain", &domain.to_string()]);
        }
        command.arg("--");
        command
    }

    /// Raises a VIRQ in domain 0.
    fn virq(&self, virq: &str) {
        self.stage
            .finish(&mut self.stage.ioctlab(["xen", "virq", "--in", &self.name, "--domain", "0", virq]))
            .succeeds();
    }

    /// Its line in `ioctlab list`.
    pub(crate) fn status(&self) -> Option<String> {
        let list = self.stage.finish(&mut self.stage.ioctlab(["list"])).succeeds();
        list.stdout.lines().find(|line| line.split_whitespace().next() == Some(&self.name)).map(str::to_owned)
    }

    /// The number of its server's process.
    pub(crate) fn server(&self) -> i32 {
        let status = self.status().unwrap();
        let number = status.split("server ").nth(1).and_then(|rest| rest.split(',').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no server in {status:?}"))
    }

    /// Waits until nobody uses it.
    #[track_caller]
    pub(crate) fn is_unused(&self) {
        let mut status = String::new();
        let unused = crate::job::within(SOON, || {
            status = self.status().unwrap();
            status.ends_with("0 processes, 0 open files")
        });
        assert!(unused, "{status}");
    }

    pub(crate) fn down(self) {
        self.stage.finish(&mut self.stage.ioctlab(["down", &self.name])).succeeds();
        assert_eq!(self.status(), None);
    }

    fn kill_server(&self) {
        rustix::process::kill_process(Pid::from_raw(self.server()).unwrap(), Signal::KILL).unwrap();
    }
}

#[test]
fn up_list_run_down() {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    lab.is_unused();
    for isolation in Isolation::BOTH {
        let mut command = lab.run(Some(isolation), None);
        stage.finish(command.arg(stage.client("static"))).succeeds().prints("ok static");
    }
    lab.is_unused();
    let mut job =
        stage.start(lab.run(None, None).args(["sh", "-c", "exec 3<>/dev/xen/evtchn; echo ready; sleep 100"]));
    job.expect("ready");
    until(SOON, "an open file, and a process that has it", || {
        let status = lab.status().unwrap();
        status.ends_with(" 1 open files") && !status.contains(" 0 processes")
    });
    drop(job);
    lab.is_unused();
    lab.down();
    stage.is_clean();
}

fn ping_pong(first: Isolation, second: Isolation, events: u32) {
    let stage = Stage::new();
    let client = stage.client("domains");
    let lab = Lab::up(&stage);
    let port = stage.home().join("port");
    let start = |role: &str, isolation, domain, other: &str| {
        let mut command = lab.run(Some(isolation), Some(domain));
        // Each ping is answered: two events.
        stage.start(command.arg(&client).args([role, other]).arg(&port).arg((events / 2).to_string()))
    };
    let begin = std::time::Instant::now();
    let server = start("server", first, 1, "2");
    let client = start("client", second, 2, "1");
    client.wait(Duration::from_secs(400)).succeeds().prints("ok domains client");
    server.wait(SOON).succeeds().prints("ok domains server");
    let took = begin.elapsed().as_secs_f64();
    eprintln!(
        "{events} events between two domains: {took:.1} s, {:.1} us each",
        took * 1e6 / f64::from(events)
    );
    lab.is_unused();
    lab.down();
    stage.is_clean();
}

#[test]
fn two_domains() {
    ping_pong(Isolation::Namespace, Isolation::Namespace, 1_000_000);
}

#[test]
fn two_domains_of_different_isolation() {
    ping_pong(Isolation::Namespace, Isolation::Paths, 20_000);
}

#[test]
fn a_virq_from_outside_reaches_a_reader() {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    for isolation in Isolation::BOTH {
        let mut reader = stage.start(lab.run(Some(isolation), None).arg(stage.support("virq")).arg("3"));
        for round in 1..=3 {
            reader.expect(&format!("waiting {round}\n"));
            lab.virq("DOM_EXC");
            reader.expect(&format!("event {round}\n"));
        }
        reader.wait(SOON).succeeds();
    }
    for (wrong, reason) in [("NO_SUCH_VIRQ", "NO_SUCH_VIRQ"), ("24", "24")] {
        stage
            .finish(&mut stage.ioctlab(["xen", "virq", "--in", lab.name(), wrong]))
            .gives(125)
            .complains(reason);
    }
    stage
        .finish(&mut stage.ioctlab(["xen", "virq", "--in", lab.name(), "--domain", "9", "DOM_EXC"]))
        .gives(125)
        .complains("domain 9");
    lab.down();
    stage.is_clean();
}

/// What a run notices of its server's end, whatever ended it.
fn the_server_goes(end: impl Fn(&Lab<'_>)) {
    for isolation in Isolation::BOTH {
        let stage = Stage::new();
        let lab = Lab::up(&stage);
        let client = stage.support("orphan");
        let blocked = stage.start(lab.run(Some(isolation), None).arg(&client).arg("blocked"));
        let calling = stage.start(lab.run(Some(isolation), None).arg(&client).arg("calling"));
        let asleep = stage.start(lab.run(Some(isolation), None).arg(&client).arg("asleep"));
        let mut jobs = [blocked, calling, asleep];
        for job in &mut jobs {
            job.expect("ready\n");
        }
        end(&lab);
        for job in jobs {
            job.wait(SOON).succeeds().prints("ok orphan").complains("is gone");
        }
        until(SOON, "the lab isn't listed", || lab.status().is_none());
        stage.is_clean();
    }
}

#[test]
fn down_with_runs_alive() {
    the_server_goes(|lab| {
        lab.stage.finish(&mut lab.stage.ioctlab(["down", &lab.name])).succeeds();
    });
}

#[test]
fn the_server_is_killed() {
    the_server_goes(|lab| lab.kill_server());
}

/// What is mapped is memory: it can be used and unmapped without a server.
#[test]
fn mappings_outlast_the_server() {
    let stage = Stage::new();
    let mapped = stage.support("mapped");
    for server_is_there in [true, false] {
        let lab = Lab::up(&stage);
        let go = stage.home().join("go");
        let mut job = stage.start(lab.run(Some(Isolation::Namespace), None).arg(&mapped).arg(&go));
        job.expect("ready\n");
        if !server_is_there {
            lab.kill_server();
            until(SOON, "the lab isn't listed", || lab.status().is_none());
        }
        fs::write(&go, "").unwrap();
        job.wait(SOON).succeeds().prints("unmapped");
        fs::remove_file(&go).unwrap();
        if server_is_there {
            lab.is_unused();
            lab.down();
        }
    }
    stage.is_clean();
}

#[test]
fn a_private_labs_server_is_killed() {
    for isolation in Isolation::BOTH {
        for what in ["blocked", "calling", "asleep"] {
            let stage = Stage::new();
            let client = stage.support("orphan");
            let mut job = stage.start(&mut stage.run(isolation, [client.as_os_str(), what.as_ref()]));
            job.expect("ready\n");
            let printed: PathBuf = job.stdout.clone();
            job.signal(Signal::KILL);
            job.wait(SOON).dies_of(Signal::KILL);
            until(SOON, &format!("the client ({what}, {isolation:?}) has noticed"), || {
                fs::read_to_string(&printed).is_ok_and(|text| text.contains("ok orphan"))
            });
            stage.is_clean();
        }
    }
}

#[test]
fn a_name_is_free_after_its_server_was_killed() {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    lab.kill_server();
    until(SOON, "the lab isn't listed", || lab.status().is_none());
    Lab::up(&stage).down();
    stage.is_clean();
}

#[test]
fn a_killed_run_leaves_the_lab_to_the_others() {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    let script = "exec 3<>/dev/xen/evtchn; echo ready; sleep 100";
    for isolation in Isolation::BOTH {
        let mut job = stage.start(lab.run(Some(isolation), None).args(["sh", "-c", script]));
        job.expect("ready");
        job.signal_group(Signal::KILL);
        job.wait(SOON).dies_of(Signal::KILL);
        lab.is_unused();
        stage.finish(lab.run(Some(isolation), None).arg(stage.client("static"))).succeeds();
    }
    lab.down();
    stage.is_clean();
}
