//! A Postfix of its own on a free port of 127.0.0.1: it takes mail for `postfix.example`, with STARTTLS, and delivers it into
//! Maildirs. Configuration, queue and log are in a temporary directory; the system's own Postfix is not touched.
//!
//! It is Debian's (`postfix`, see `scripts/setup.sh`), and its processes are of several users: only root can start it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::until;

/// How long it may take to start.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The domain that it takes mail for.
pub const DOMAIN: &str = "postfix.example";
/// Whose the Maildirs are.
const MAIL_UID: u32 = 65_534;
const SERVICES: &str = "pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// A running Postfix; it stops when it is dropped.
#[derive(Debug)]
pub struct Postfix {
    dir: TempDir,
    /// Where it listens.
    pub port: u16,
}

impl Postfix {
    /// Starts one that has these mailboxes at [`DOMAIN`]. `access` is what its policy says to single recipients, in its own words:
    /// `("grey", "450 4.2.0 greylisted")`. `relay_port`: where notifications to others go.
    ///
    /// # Panics
    /// When it is not installed, does not start, or this user is not root.
    pub async fn start(mailboxes: &[&str], access: &[(&str, &str)], relay_port: u16) -> Postfix {
        let dir = tempfile::Builder::new().prefix("postfix").tempdir().expect("a temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("open the directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let postfix = Postfix { dir, port };
        postfix.write(mailboxes, access, relay_port);
        let started = postfix.command("start").output().expect("Postfix is installed: scripts/setup.sh test");
        assert!(started.status.success(), "Postfix does not start: {}{}", text(&started.stderr), postfix.log());
        until("Postfix listens", WAIT_MAX, async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        postfix
    }

    /// The certificate that it shows for `mx.postfix.example` (PEM).
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("mail.log")).unwrap_or_default()
    }

    /// The mails in a mailbox.
    pub fn mails(&self, mailbox: &str) -> Vec<String> {
        let folder = self.dir.path().join("mail").join(mailbox).join("new");
        let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
        let file = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry.ok()?.path()).ok();
        files.filter_map(file).map(|bytes| text(&bytes)).collect()
    }

    /// Recipients that it delivered to, with how often, by its log.
    pub fn delivered(&self) -> BTreeMap<String, usize> {
        let mut delivered = BTreeMap::new();
        for line in self.log().lines().filter(|line| line.contains("status=sent (delivered to maildir)")) {
            let to = line.split("to=<").nth(1).and_then(|rest| rest.split('>').next()).unwrap_or_default();
            *delivered.entry(to.to_owned()).or_default() += 1;
        }
        delivered
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.dir.path()).arg(what).stdin(Stdio::null());
        command
    }

    fn write(&self, mailboxes: &[&str], access: &[(&str, &str)], relay_port: u16) {
        let dir = self.dir.path();
        for folder in ["queue", "data", "mail"] {
            std::fs::create_dir(dir.join(folder)).expect("a folder");
        }
        chown(dir.join("mail"), Some(MAIL_UID), Some(MAIL_UID)).expect("only root can start Postfix");
        let owned = Command::new("chown").arg("postfix").arg(dir.join("data")).status().expect("chown is there");
        assert!(owned.success(), "Postfix is not installed: scripts/setup.sh test");
        let key = rcgen::generate_simple_self_signed(["mx.postfix.example".to_owned()]).expect("a certificate");
        write_file(&dir.join("cert.pem"), &key.cert.pem());
        write_file(&dir.join("key.pem"), &key.signing_key.serialize_pem());
        std::fs::set_permissions(dir.join("key.pem"), std::fs::Permissions::from_mode(0o600)).expect("close the key");
        let (mut boxes, mut policy) = (String::new(), String::new());
        for mailbox in mailboxes {
            let _ = writeln!(boxes, "{mailbox}@{DOMAIN} {mailbox}/");
        }
        for (mailbox, answer) in access {
            let _ = writeln!(policy, "{mailbox}@{DOMAIN} {answer}");
        }
        write_file(&dir.join("boxes"), &boxes);
        write_file(&dir.join("access"), &policy);
        write_file(&dir.join("main.cf"), &self.configuration(relay_port));
        write_file(&dir.join("master.cf"), &format!("127.0.0.1:{} inet n - n - - smtpd\n{SERVICES}", self.port));
    }

    fn configuration(&self, relay_port: u16) -> String {
        let dir = self.dir.path().display();
        format!(
            "compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.postfix.example
mydestination =
mynetworks = 192.0.2.0/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = texthash:{dir}/boxes
virtual_uid_maps = static:{MAIL_UID}
virtual_gid_maps = static:{MAIL_UID}
virtual_minimum_uid = 1
smtpd_recipient_restrictions = check_recipient_access texthash:{dir}/access, reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_tls_cert_file = {dir}/cert.pem
smtpd_tls_key_file = {dir}/key.pem
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtp_tls_security_level = none
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:{relay_port}
alias_maps =
alias_database =
"
        )
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = self.command("stop").stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn write_file(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write a file of Postfix's");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
