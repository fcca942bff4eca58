//! Its part of sysfs.

use ioctlab_kernel::Entry;
use ioctlab_lab::VfioRequest;

use crate::bench::Bench;

const FILE: &str = "\
[vfio]
noiommu = true
[[vfio.device]]
address = \"0000:00:05.0\"
model = \"edu\"
[[vfio.device]]
address = \"0000:01:00.0\"
model = \"test\"
group = 7
driver = \"e1000\"
[[vfio.device]]
address = \"0000:00:07.0\"
model = \"test\"
group = \"none\"
";

/// All that is listed is there, and links lead somewhere.
#[test]
fn what_is_listed_is_there() {
    let bench = Bench::new(FILE);
    let tree = bench.tree();
    let mut left = tree.roots();
    let mut seen = 0;
    while let Some(path) = left.pop() {
        seen += 1;
        match tree.entry(&path).unwrap_or_else(|| panic!("{path} isn't there")) {
            Entry::Directory => {
                left.extend(tree.list(&path).into_iter().map(|name| format!("{path}/{name}")));
            }
            Entry::Link(target) => {
                let mut parts: Vec<&str> = path.split('/').collect();
                parts.pop();
                for part in target.split('/') {
                    if part == ".." {
                        parts.pop();
                    } else {
                        parts.push(part);
                    }
                }
                let target = parts.join("/");
                assert!(tree.entry(&target).is_some(), "{path} leads to {target}");
            }
            Entry::Attribute { .. } => {}
        }
    }
    assert!(seen > 100);
}

/// Programs find a device's group there, also one that is made up while it is bound.
#[test]
fn a_device_without_an_iommu_is_in_a_group_while_it_is_bound() {
    let bench = Bench::new(FILE);
    let (device, group) = ("/sys/devices/pci0000:00/0000:00:07.0", "/sys/kernel/iommu_groups/1");
    let link = Entry::Link("../../../kernel/iommu_groups/1".into());
    assert_eq!(bench.tree().entry(&format!("{device}/iommu_group")), Some(link));
    let show = |name: &str| bench.tree().show(&format!("{group}/{name}"), 0, 99);
    assert_eq!(show("name"), Ok(b"vfio-noiommu\n".to_vec()));
    assert_eq!(bench.tree().list(&format!("{group}/devices")), ["0000:00:07.0"]);
    bench.act(VfioRequest::Unbind("0000:00:07.0".into())).unwrap();
    assert_eq!(bench.tree().entry(&format!("{device}/iommu_group")), None);
    assert_eq!(bench.tree().entry(group), None);
}
