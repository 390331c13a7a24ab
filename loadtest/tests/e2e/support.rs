//! A small fleet for one test. Fleets are heavy, so tests take turns.
use loadtest::fleet::{Programs, World, WorldSpec};
use std::path::Path;
use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// As the demo's policy, with short soaks and `auto_approve`.
pub const POLICY: &str = r#"
schema = 1
[rollout]
mode = "before_height"
auto_approve = true
[quorum]
rule = "wbft"
reserve = 0
max_block_slowdown = 20.0
view_max_age = "5s"
[defaults]
on_failure = "hold"
deadline = { download = "30s", stop = "20s", start = "8s", rpc = "10s", catch_up = "30s", sealing = "12s", progress = "3m" }
proof = { blocks = 8, seals = 4, compare = 2 }
expect = { switch = "2s" }
[[stage]]
name = "consensus-canary"
select = 'role == "rpc"'
count = 1
soak = { blocks = 2 }
gate = ["state_root_equal", "rpc_ok"]
[[stage]]
name = "rpc"
select = 'role == "rpc"'
[[stage]]
name = "validator-canary"
select = 'role == "validator"'
count = 1
soak = { blocks = 2 }
gate = ["sealing"]
[[stage]]
name = "validators"
select = 'role == "validator"'
"#;

/// Height of the fork in tests that do not wait for it: far enough to be feasible, and never reached.
pub const FAR: u64 = 5_000;

pub struct Fleet {
    // Dropped in this order: processes, folder, turn.
    pub world: World,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

fn programs() -> Programs {
    // Cargo gives the path of this crate's own binaries; the others of the same build lie beside them.
    let beside = Path::new(env!("CARGO_BIN_EXE_devnode")).parent().unwrap();
    Programs::beside(beside).unwrap()
}

pub async fn fleet(validators: usize, rpc_nodes: usize, foreign: usize) -> Fleet {
    let turn = TURN.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let spec = WorldSpec {
        dir: dir.path().join("w"),
        programs: programs(),
        validators,
        rpc_nodes,
        foreign,
        block_ms: 200,
        policy: POLICY.to_owned(),
    };
    let world = World::start(&spec, |line| eprintln!("{line}")).await.unwrap();
    Fleet { world, _dir: dir, _turn: turn }
}
