//! Shows ioctlab at work: programs on devices that this machine doesn't have.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::clients::compile;
use crate::process::{run, shown};
use crate::setup;
use crate::stage::Stage;
use crate::workspace::Workspace;

/// Everything happens as an ordinary user; what is run is printed before its output, as one could type it.
pub(crate) fn show(workspace: &Workspace) -> Result<()> {
    heading("Preparing");
    setup::install(setup::DEMO)?;
    println!("Building ioctlab");
    let stage = Stage::new()?;
    let ioctlab = stage.add(&workspace.build_ioctlab()?)?;
    let sources = workspace.root().join("xtask/demo");
    compile(&sources.join("static_client.c"), &stage.path("static_client"), &["-static"])?;
    stage.add(&sources.join("ctypes_client.py"))?;
    stage.add(&sources.join("edu_client.py"))?;
    println!("What follows runs as {}.", stage.user());
    let act = Act { stage: &stage, ioctlab: &ioctlab };

    heading("What this machine allows");
    act.perform(&["doctor"])?;
    heading("A program sees the device node");
    act.perform(&["run", "--", "ls", "-l", "/dev/xen"])?;
    heading("A statically linked C program opens an event channel, its calls traced");
    act.perform(&["run", "--trace", "--", "./static_client"])?;
    heading("A Python program uses Xen's own library");
    act.perform(&["run", "--", "python3", "ctypes_client.py"])?;
    heading("A shell redirects to the device");
    // Writing a port's number unmasks the port; the driver takes numbers of ports that aren't bound, too.
    let script = r#"printf '\001\000\000\000' >/dev/xen/evtchn && echo "The shell wrote a port number.""#;
    act.perform(&["run", "--", "sh", "-c", script])?;
    heading("A driver in user space takes a PCI device by VFIO");
    act.perform(&["run", "--", "python3", "edu_client.py"])?;
    println!("\nAll of it worked. Try your own program: ioctlab run -- PROGRAM");
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

struct Act<'a> {
    stage: &'a Stage,
    ioctlab: &'a Path,
}

impl Act<'_> {
    fn perform(&self, arguments: &[&str]) -> Result<()> {
        println!("$ {}", shown(Command::new("ioctlab").args(arguments)));
        run(self.stage.command(self.ioctlab).args(arguments))
    }
}
