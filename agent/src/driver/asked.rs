//! What people ask of a running agent, by signal or through its socket.
use super::control::Asked;
use super::ending::{End, Told};
use super::{Answer, Driver, Request};
use crate::config::Loaded;

impl Driver {
    pub(super) fn told(&mut self, told: &Told) {
        match told {
            Told::End => self.end = Some(End::Told),
            Told::Reload => match self.reload() {
                Ok(detail) => tracing::info!("{detail}"),
                Err((why, hint)) => tracing::error!(hint, "the settings stay as they were: {why}"),
            },
            Told::Replace => match self.check_successor() {
                Ok(_) => self.end = Some(End::Replace(None)),
                Err(why) => tracing::error!("this agent goes on: {why}"),
            },
            Told::Nothing => tracing::info!("SIGUSR1 has no meaning here"),
        }
    }

    /// Does what a client of the socket wants.
    pub(super) fn asked(&mut self, asked: Asked) {
        let done = |detail: &str| Answer::Done { detail: detail.to_owned() };
        let answer = match asked.request {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Stop => return self.end = Some(End::Stop((asked.reply, asked.written))),
            Request::Restart { force } => self.restart_asked(force),
            Request::Reload => match self.reload() {
                Ok(detail) => Answer::Done { detail },
                Err((why, hint)) => Answer::Refused { why, hint },
            },
            Request::Replace => match self.check_successor() {
                Ok(version) => {
                    self.end = Some(End::Replace(Some(asked.written)));
                    done(&format!("{version} takes over; the node goes on"))
                }
                Err(why) => Answer::Refused {
                    why,
                    hint: "put a working wemixvisor where this one was started from".to_owned(),
                },
            },
            Request::Poke => {
                self.poll_plans();
                done("looked at the plans")
            }
            Request::Forgive => {
                self.queue.push_back(common::machine::Event::Forgiven);
                done("releases that failed here may be tried again")
            }
        };
        let _ = asked.reply.send(answer);
    }

    /// Reads the settings again and takes over what can be; the rest waits for a restart, and is named.
    fn reload(&mut self) -> Result<String, (String, String)> {
        let loaded = Loaded::load(&self.parts.flags, &crate::cli::env)
            .map_err(|e| (e.to_string(), "wemixvisor config validate".to_owned()))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let changes = self.parts.settings.changed(&loaded.settings);
        if changes.is_empty() {
            return Ok("the settings are as before".to_owned());
        }
        let settings = self.parts.settings.reloaded(&loaded.settings);
        if settings.log.filter != self.parts.settings.log.filter {
            crate::cli::log::change(&settings.log.filter)
                .map_err(|e| (format!("{e:#}"), "wemixvisor config set log.filter info".to_owned()))?;
        }
        self.parts.settings = settings;
        self.judge.set(self.parts.settings.health.clone());
        self.settings_changed();
        let list = |keys: &[String]| keys.join(", ");
        Ok(match (changes.reloadable.is_empty(), changes.needs_restart.is_empty()) {
            (false, true) => format!("taken over: {}", list(&changes.reloadable)),
            (true, _) => format!("only after a restart: {}", list(&changes.needs_restart)),
            (false, false) => format!(
                "taken over: {}; only after a restart: {}",
                list(&changes.reloadable),
                list(&changes.needs_restart)
            ),
        })
    }

    fn restart_asked(&mut self, force: bool) -> Answer {
        if self.parts.coordinator.is_some() && !force {
            return Answer::Refused {
                why: "this host is in a fleet, and a restart here does not ask the fleet's quorum".to_owned(),
                hint: "restart it through the coordinator, or use --force".to_owned(),
            };
        }
        if self.machine.is_committed() {
            let phase = format!("{:?}", self.machine.phase()).to_lowercase();
            return Answer::Refused {
                why: format!("an upgrade is under way ({phase}); it starts the node itself"),
                hint: "wemixvisor status shows how far it is".to_owned(),
            };
        }
        self.queue.push_back(common::machine::Event::RestartAsked);
        Answer::Done { detail: "the node is being stopped and started again".to_owned() }
    }
}
