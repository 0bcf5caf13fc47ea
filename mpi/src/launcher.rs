//! What a launcher sets: environment variables, and processors.

use serde::{Deserialize, Serialize};

/// Prefixes of the variables by which launchers and resource managers talk to a rank.
///
/// A worker is no rank. A library of MPI in it, or a program that it starts, would take itself for
/// the rank whose variables it has.
const PREFIXES: [&str; 19] = [
    "OMPI_", "OPAL_", "ORTE_", "PMIX_", "PMI_", "PRTE_", "HYDRA_", "HYDI_", "MPIEXEC_", "MPIR_",
    "MPI_", "SLURM_", "SLURMD_", "PALS_", "ALPS_", "MV2_", "I_MPI_", "FLUX_", "JSM_",
];

/// Whether a launcher set this variable.
pub(crate) fn is_launcher_variable(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Names of the variables of this process that a launcher set. `MPI_Init` sets some as well.
pub(crate) fn variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| is_launcher_variable(name)).collect()
}

/// The processors of a rank, as it sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Processors {
    /// Those that this process can keep busy: its binding and its cgroup's quota of time allow it.
    pub(crate) own: usize,
    /// Those that it is bound to, whatever its quota is.
    pub(crate) bound: usize,
    /// Those that its cgroup may use on this node.
    pub(crate) node: usize,
}

impl Processors {
    pub(crate) fn now() -> Processors {
        let own = std::thread::available_parallelism().map_or(1, usize::from);
        let bound = of_thread().unwrap_or(own);
        let listed = |list: Option<String>| count(&list?);
        let node = listed(list_of_cgroup()).or_else(|| listed(list_online())).unwrap_or(own);
        Processors { own, bound, node: node.max(bound) }
    }

    /// How many workers a rank has, if its program leaves that open: with several ranks on a
    /// node, they share its processors, and a quota of processor time if there is one.
    pub(crate) fn workers(self, ranks_on_node: usize) -> usize {
        let has_quota = self.own < self.bound;
        let own = if has_quota { (self.own / ranks_on_node.max(1)).max(1) } else { self.own };
        own.min(self.share(ranks_on_node))
    }

    /// Its part of the processors of the node.
    pub(crate) fn share(self, ranks_on_node: usize) -> usize {
        (self.node / ranks_on_node.max(1)).max(1)
    }
}

/// Where a rank runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The name of its node, for messages.
    pub(crate) host: String,
    /// What ranks have in common that share processors, and no others: the start of the kernel
    /// and the processors that their cgroup may use. Names will not do: nodes may have the same
    /// one, and containers of a machine different ones.
    node: String,
    processors: Processors,
}

impl Place {
    pub(crate) fn here(host: String) -> Place {
        let start = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let start = start.unwrap_or_else(|_| host.clone());
        let processors = list_of_cgroup().or_else(list_online).unwrap_or_default();
        let node = format!("{} {}", start.trim(), processors.trim());
        Place { host, node, processors: Processors::now() }
    }

    /// How many workers the rank here has, if its program leaves that open.
    pub(crate) fn workers(&self, all: &[Place]) -> usize {
        self.processors.workers(self.ranks(all))
    }

    /// How many of all ranks share its processors.
    fn ranks(&self, all: &[Place]) -> usize {
        all.iter().filter(|other| other.node == self.node).count()
    }
}

/// What to say about ranks that may use fewer processors than their share, if there are any.
pub(crate) fn binding_warning(ranks: &[Place]) -> Option<String> {
    let share = |place: &Place| place.processors.share(place.ranks(ranks));
    let is_bound = |place: &&Place| place.processors.bound < share(place);
    let bound = ranks.iter().filter(is_bound).count();
    let rank = ranks.iter().position(|rank| is_bound(&rank))?;
    let Place { host, processors, .. } = &ranks[rank];
    Some(format!(
        "rank {rank} on {host} is bound to {} of {} processors, and its share is {}{}: start the \
         job with `mpirun --bind-to none`, and with `--map-by ppr:1:node` for one rank a node",
        processors.bound,
        processors.node,
        share(&ranks[rank]),
        if bound > 1 { format!(" (and so for {} other ranks)", bound - 1) } else { String::new() },
    ))
}

/// The processors that this thread is bound to.
fn of_thread() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    count(text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// The processors of this process's cgroup, or of the nearest one above it that lists them.
fn list_of_cgroup() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut directory = std::path::Path::new("/sys/fs/cgroup").join(path);
    loop {
        if let Ok(list) = std::fs::read_to_string(directory.join("cpuset.cpus.effective")) {
            return Some(list);
        }
        if !directory.pop() || !directory.starts_with("/sys/fs/cgroup") {
            return None;
        }
    }
}

fn list_online() -> Option<String> {
    std::fs::read_to_string("/sys/devices/system/cpu/online").ok()
}

/// The number of processors in a list such as `0-3,8`.
fn count(list: &str) -> Option<usize> {
    let one = |part: &str| -> Option<usize> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        last.checked_sub(first).map(|more| more + 1)
    };
    list.trim().split(',').map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!(count("0-3,8\n"), Some(5));
        assert_eq!(count("0"), Some(1));
        assert_eq!([count(""), count("3-1"), count("a")], [None; 3]);
    }

    fn place(host: &str, node: &str, processors: Processors) -> Place {
        Place { host: host.to_owned(), node: node.to_owned(), processors }
    }

    #[test]
    fn only_ranks_with_less_than_their_share_are_warned_about() {
        let rank = |host: &str, own, node| place(host, host, Processors { own, bound: own, node });
        // One rank a node, unbound; two on a node, each bound to its half.
        assert_eq!(binding_warning(&[rank("a", 8, 8), rank("b", 4, 8), rank("b", 4, 8)]), None);
        // More ranks than processors.
        assert_eq!(binding_warning(&[rank("a", 1, 1), rank("a", 1, 1)]), None);
        // A quota of two processors, and no binding.
        let limited = Processors { own: 2, bound: 8, node: 8 };
        assert_eq!(binding_warning(&[place("a", "a", limited)]), None);
        let warning = binding_warning(&[rank("a", 8, 8), rank("b", 1, 8), rank("c", 2, 8)]);
        let warning = warning.unwrap();
        assert!(warning.starts_with("rank 1 on b is bound to 1 of 8"), "{warning}");
        assert!(warning.contains("for 1 other rank") && warning.contains("--bind-to none"));
    }

    #[test]
    fn a_rank_has_as_many_workers_as_its_share_and_its_binding_allow() {
        let processors = Processors { own: 8, bound: 8, node: 8 };
        assert_eq!([1, 2, 3, 9].map(|ranks| processors.workers(ranks)), [8, 4, 2, 1]);
        // A quota of two processors.
        let limited = Processors { own: 2, bound: 8, node: 8 };
        assert_eq!([1, 2, 4].map(|ranks| limited.workers(ranks)), [2, 1, 1]);
        // Each bound to two.
        assert_eq!(Processors { own: 2, bound: 2, node: 8 }.workers(4), 2);
    }

    #[test]
    fn ranks_share_processors_by_machine_and_not_by_name() {
        let processors = Processors { own: 8, bound: 8, node: 8 };
        let name = |host: &str, node: &str| place(host, node, processors);
        let same = [name("localhost", "1 0-7"), name("localhost", "2 0-7")];
        assert_eq!(same.each_ref().map(|place| place.workers(&same)), [8, 8]);
        let other = [name("container1", "1 0-7"), name("container2", "1 0-7")];
        assert_eq!(other.each_ref().map(|place| place.workers(&other)), [4, 4]);
        let here = Place::here("a".to_owned());
        assert_eq!(here.node, Place::here("b".to_owned()).node);
        // More than what stands for a missing name of the start, and a list.
        assert!(here.node.len() > 8 && count(here.node.split(' ').nth(1).unwrap()).is_some());
    }

    #[test]
    fn variables_of_launchers_are_known_by_their_prefix() {
        for name in
            ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_FD", "SLURM_PROCID", "HYDI_CONTROL_FD"]
        {
            assert!(is_launcher_variable(name), "{name}");
        }
        for name in ["SLURMD_NODENAME", "PALS_RANKID", "MV2_COMM_WORLD_RANK", "I_MPI_PMI_LIBRARY"] {
            assert!(is_launcher_variable(name), "{name}");
        }
        for name in ["PATH", "OMP_NUM_THREADS", "BRIGADE_KERNEL", "MPICH_DIR"] {
            assert!(!is_launcher_variable(name), "{name}");
        }
    }
}
