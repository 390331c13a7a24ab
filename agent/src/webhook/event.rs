//! What can happen, and how it is written.
use common::time::UnixMs;
use serde::Serialize;

/// Longest detail that is told, in characters.
const MAX_DETAIL: usize = 1024;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Which event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// Its name in JSON, in headers and in the settings.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// The agent supervises.
    AgentStarted => "agent_started",
    /// The agent ends.
    AgentEnding => "agent_ending",
    /// The node was executed.
    NodeStarted => "node_started",
    /// The node ended because it was asked to.
    NodeStopped => "node_stopped",
    /// The node ended by itself.
    NodeCrashed => "node_crashed",
    /// The node is restarted because its RPC stays silent.
    NodeRecovering => "node_recovering",
    /// The node ended too often; the agent gave up.
    RestartBudgetSpent => "restart_budget_spent",
    /// The node is not well any more.
    Unhealthy => "unhealthy",
    /// The node is well.
    Healthy => "healthy",
    /// An upgrade waits for its height or its permission.
    UpgradePending => "upgrade_pending",
    /// The node is being stopped for an upgrade.
    UpgradeStarted => "upgrade_started",
    /// The new release runs and is healthy.
    UpgradeDone => "upgrade_done",
    /// An upgrade failed.
    UpgradeFailed => "upgrade_failed",
    /// The host went back to the release before.
    RolledBack => "rolled_back",
    /// A plan cannot be understood or followed.
    PlanFault => "plan_fault",
    /// A backup was made.
    BackupDone => "backup_done",
    /// A backup could not be made.
    BackupFailed => "backup_failed",
    /// The disk is nearly full.
    DiskLow => "disk_low",
}

impl Kind {
    /// The event of a name.
    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// All names, for people.
    pub fn names() -> String {
        Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
    }
}

/// Something that happened. Two that are equal are the same news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What.
    pub event: Kind,
    /// In a sentence; data, cut at 1024 characters.
    pub detail: String,
    /// The release concerned.
    pub release: Option<String>,
    /// The height concerned.
    pub height: Option<u64>,
}

impl Event {
    /// An event with nothing but a sentence.
    pub fn new(event: Kind, detail: impl Into<String>) -> Event {
        Event { event, detail: detail.into(), release: None, height: None }
    }
}

/// An event on its way.
#[derive(Debug)]
pub(super) struct Body {
    /// What it is about.
    pub event: Event,
    /// The same over all tries.
    pub id: String,
    /// When it happened.
    pub at: UnixMs,
    /// Which try this is, from 1.
    pub attempt: u32,
}

impl Body {
    pub fn new(mut event: Event, at: UnixMs) -> Body {
        event.detail = event.detail.chars().take(MAX_DETAIL).collect();
        Body { event, id: format!("{:032x}", rand::random::<u128>()), at, attempt: 0 }
    }

    /// As it is posted.
    pub fn json(&self, node: &str, home: &str) -> Vec<u8> {
        let Event { event, detail, release, height } = &self.event;
        let body = serde_json::json!({
            "id": self.id, "event": event, "node": node, "home": home, "at": self.at, "detail": detail,
            "release": release, "height": height, "attempt": self.attempt,
        });
        body.to_string().into_bytes()
    }
}
