//! A Dovecot of its own on free ports of 127.0.0.1: LMTP, IMAP and IMAPS, Maildirs in a temporary directory, a master user.
//!
//! It is Debian's (`dovecot-core dovecot-imapd dovecot-lmtpd`, see `scripts/setup.sh`), under a configuration of the test's.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long it may take to start or to stop.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Who keeps the mail when the test is root: Dovecot refuses to keep root's.
const MAIL_UID: u32 = 65_534;

/// A running Dovecot; it stops when it is dropped.
#[derive(Debug)]
pub struct Dovecot {
    dir: TempDir,
    /// Where LMTP listens.
    pub lmtp_port: u16,
    /// Where IMAP listens, in clear text and with STARTTLS.
    pub imap_port: u16,
    /// Where IMAP over TLS listens.
    pub imaps_port: u16,
    /// A line of the configuration that says what IMAP offers, or nothing.
    capability: &'static str,
    child: Option<Child>,
}

/// A user of it.
#[derive(Debug, Clone)]
pub struct DovecotUser {
    /// The whole address, which is the user name.
    pub address: String,
    /// The most that the mailbox may hold; 0: as much as it likes.
    pub quota_bytes: u64,
}

impl Dovecot {
    /// The master user, who may enter every mailbox as `user*landfall`.
    pub const MASTER: &'static str = "landfall";
    /// The master user's password.
    pub const MASTER_PASSWORD: &'static str = "master \"secret\"";
    /// Everybody's own password.
    pub const PASSWORD: &'static str = "owner";

    /// Starts one with these users, without quotas.
    ///
    /// # Panics
    /// When Dovecot is not installed or does not start.
    pub async fn start<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Dovecot {
        let user = |address: &str| DovecotUser { address: address.to_owned(), quota_bytes: 0 };
        Dovecot::start_with(&addresses.into_iter().map(user).collect::<Vec<_>>()).await
    }

    /// Starts one with these users.
    ///
    /// # Panics
    /// As [`Dovecot::start`].
    pub async fn start_with(users: &[DovecotUser]) -> Dovecot {
        Dovecot::start_saying(users, "").await
    }

    /// Starts one without quotas that offers no extension of IMAP (MOVE, UIDPLUS, LITERAL+, SPECIAL-USE, …).
    ///
    /// # Panics
    /// As [`Dovecot::start`].
    pub async fn start_bare<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Dovecot {
        let user = |address: &str| DovecotUser { address: address.to_owned(), quota_bytes: 0 };
        let users: Vec<DovecotUser> = addresses.into_iter().map(user).collect();
        Dovecot::start_saying(&users, "imap_capability = IMAP4rev1").await
    }

    async fn start_saying(users: &[DovecotUser], capability: &'static str) -> Dovecot {
        let dir = tempfile::Builder::new().prefix("dovecot").tempdir().expect("a temporary directory");
        // Its processes are several users.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("open the directory");
        let [lmtp_port, imap_port, imaps_port] = free_ports();
        let mut dovecot = Dovecot { dir, lmtp_port, imap_port, imaps_port, capability, child: None };
        dovecot.write(users);
        dovecot.start_again().await;
        dovecot
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate that it shows for `localhost`, to be trusted by a client (PEM).
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// A user's Maildir.
    pub fn maildir(&self, address: &str) -> PathBuf {
        self.dir.path().join("mail").join(address).join("Maildir")
    }

    /// Starts what was stopped, on the same ports and with the same mail.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is running");
        let program = ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot"].into_iter().find(|p| Path::new(p).exists());
        let program = program.expect("Dovecot is not installed: scripts/setup.sh test");
        let mut child = Command::new(program)
            .args(["-F", "-c"])
            .arg(self.dir.path().join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Dovecot starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut said = String::new();
        let up = timeout(WAIT_MAX, async {
            while let Some(line) = lines.next_line().await.expect("lines") {
                // It listens before it says so.
                if line.contains("starting up") {
                    return true;
                }
                said.push_str(&line);
                said.push('\n');
            }
            false
        });
        assert!(matches!(up.await, Ok(true)), "Dovecot does not come up:\n{said}");
        let log = self.dir.path().join("dovecot.log");
        tokio::spawn(async move {
            let mut kept = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = writeln!(kept, "{line}");
                let _ = std::fs::write(&log, &kept);
            }
        });
        self.child = Some(child);
    }

    /// Stops it and waits until it is gone; the mail stays.
    ///
    /// # Panics
    /// When it does not go.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        ask_to_stop(&child);
        timeout(WAIT_MAX, child.wait()).await.expect("Dovecot stops in time").expect("Dovecot is waited for");
    }

    fn write(&self, users: &[DovecotUser]) {
        let dir = self.dir.path();
        let mail = dir.join("mail");
        std::fs::create_dir(&mail).expect("a folder for mail");
        let is_root = std::fs::metadata(dir).expect("metadata").uid() == 0;
        let (uid, gid) = if is_root {
            chown(&mail, Some(MAIL_UID), Some(MAIL_UID)).expect("give the folder away");
            (MAIL_UID, MAIL_UID)
        } else {
            let own = std::fs::metadata(dir).expect("metadata");
            (own.uid(), own.gid())
        };
        let mut passwd = String::new();
        for DovecotUser { address, quota_bytes } in users {
            let quota = match quota_bytes {
                0 => String::new(),
                bytes => format!("userdb_quota_rule=*:storage={bytes}B"),
            };
            let home = mail.join(address);
            let _ = writeln!(passwd, "{address}:{{PLAIN}}{}:{uid}:{gid}::{}::{quota}", Self::PASSWORD, home.display());
        }
        write_file(&dir.join("users"), &passwd);
        write_file(&dir.join("masters"), &format!("{}:{{PLAIN}}{}\n", Self::MASTER, Self::MASTER_PASSWORD));
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        write_file(&dir.join("cert.pem"), &key.cert.pem());
        write_file(&dir.join("key.pem"), &key.signing_key.serialize_pem());
        write_file(&dir.join("dovecot.conf"), &self.configuration(is_root));
    }

    fn configuration(&self, is_root: bool) -> String {
        let dir = self.dir.path().display();
        let Dovecot { lmtp_port, imap_port, imaps_port, capability, .. } = self;
        // Without root all of its processes are this user.
        let users = if is_root {
            String::new()
        } else {
            let me = std::env::var("USER").expect("USER names this user");
            let services = ["anvil", "auth", "config", "dict", "imap-login", "lmtp", "log", "ssl-params", "stats"];
            let free = services.map(|name| format!("service {name} {{\n  chroot =\n}}\n")).concat();
            format!("default_internal_user = {me}\ndefault_internal_group = {me}\ndefault_login_user = {me}\n{free}")
        };
        format!(
            "base_dir = {dir}/run
state_dir = {dir}/state
log_path = /dev/stderr
protocols = imap lmtp
{users}
ssl = yes
ssl_cert = <{dir}/cert.pem
ssl_key = <{dir}/key.pem
first_valid_uid = 1
auth_failure_delay = 0
auth_master_user_separator = *
mail_location = maildir:~/Maildir
mail_plugins = quota
passdb {{
  driver = passwd-file
  master = yes
  args = {dir}/masters
}}
passdb {{
  driver = passwd-file
  args = {dir}/users
}}
userdb {{
  driver = passwd-file
  args = {dir}/users
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    auto = subscribe
    special_use = \\Junk
  }}
  mailbox Trash {{
    auto = subscribe
    special_use = \\Trash
  }}
}}
plugin {{
  quota = maildir:User quota
  quota_grace = 0
}}
protocol imap {{
  {capability}
  mail_plugins = quota imap_quota
}}
service imap-login {{
  process_min_avail = 1
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap_port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {imaps_port}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"
        )
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            ask_to_stop(child);
        }
    }
}

/// Its master ends all of its processes when it is asked to; killed, it would leave them behind.
fn ask_to_stop(child: &Child) {
    if let Some(pid) = child.id() {
        let _ = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
    }
}

fn write_file(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file of the configuration");
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.each_ref().map(|listener| listener.local_addr().expect("a bound socket has an address").port())
}
