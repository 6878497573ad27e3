"""Postfix with a queue and configuration of its own. Rate limits off, logging to a file; nothing that makes mail durable
is changed."""
import os
import subprocess

from process import free_port, wait_for_port

SERVICES = """smtp_in   inet n - n - - smtpd
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
local     unix - n n - - local
virtual   unix - n n - - virtual
lmtp      unix - - n - - lmtp
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


def start(stage, name, settings):
    """Starts an instance with further `settings` (a dict of main.cf); gives its SMTP port."""
    port = free_port()
    folder = stage.path(name)
    queue, data = stage.path(name, "queue"), stage.path(name, "data")
    subprocess.run(["chown", "postfix", data], check=True)
    main = {
        "compatibility_level": "3.6",
        "queue_directory": queue,
        "data_directory": data,
        "command_directory": "/usr/sbin",
        "daemon_directory": "/usr/lib/postfix/sbin",
        "mail_owner": "postfix",
        "setgid_group": "postdrop",
        "myhostname": "mx.postfix.example",
        "mydestination": "",
        "mynetworks": "127.0.0.0/8",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "maillog_file": f"{folder}/mail.log",
        "maillog_file_prefixes": folder,
        "smtpd_client_connection_rate_limit": "0",
        "smtpd_client_connection_count_limit": "0",
        "smtpd_peername_lookup": "no",
        "smtp_tls_security_level": "none",
        "smtpd_tls_security_level": "none",
        "default_process_limit": "100",
        "qmgr_message_active_limit": "20000",
        "alias_maps": "",
        "alias_database": "",
        "smtp_dns_support_level": "disabled",
    } | settings
    stage.write(f"{name}/main.cf", "".join(f"{key} = {value}\n" for key, value in main.items()))
    stage.write(f"{name}/master.cf", SERVICES.replace("smtp_in  ", f"127.0.0.1:{port} "))
    command = ["postfix", "-c", folder]
    subprocess.run(command + ["start"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stage.endings.append(lambda: subprocess.run(command + ["stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    wait_for_port(port, "Postfix")
    return port


def waiting(stage, name):
    """How many messages its queue holds."""
    count = 0
    for queue in ("incoming", "active", "deferred", "maildrop"):
        for _, _, files in os.walk(os.path.join(stage.folder, name, "queue", queue)):
            count += len(files)
    return count
