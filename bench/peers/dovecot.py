"""Dovecot with LMTP into maildirs of its own; fsync as it ships («optimized»)."""
import glob
import os
import subprocess

from process import free_port, wait_for_port


def start(stage):
    """Starts it; gives the port of LMTP. Mail of USER is in `mail/USER`."""
    port = free_port()
    folder, mail = stage.path("dovecot"), stage.path("mail")
    subprocess.run(["chown", "mail:mail", mail], check=True)
    uid, gid = os.stat(mail).st_uid, os.stat(mail).st_gid
    config = stage.write("dovecot/dovecot.conf", f"""base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = lmtp
ssl = no
mail_location = maildir:{mail}/%n
first_valid_uid = 1
auth_username_format = %Ln
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/%n allow_all_users=yes
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  process_min_avail = 4
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
""")
    stage.start("dovecot", ["dovecot", "-F", "-c", config])
    wait_for_port(port, "Dovecot")
    return port


def landed(stage):
    """How many mails lie in all inboxes."""
    return sum(len(os.listdir(folder)) for name in ("new", "cur") for folder in glob.glob(f"{stage.folder}/mail/*/{name}"))
