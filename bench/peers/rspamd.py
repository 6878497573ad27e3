"""rspamd as a milter with its stock rules. It gets a name server that answers at once; what needs Redis or the internet
stays off, as it is on a fresh installation without them."""
from process import free_port, wait_for_port


def start(stage, dns_port):
    """Starts it; gives the port of its milter."""
    milter, normal = free_port(), free_port()
    folder = stage.path("rspamd")
    for name in ("local.d", "override.d", "db", "run", "log"):
        stage.path("rspamd", name)
    stage.write("rspamd/local.d/options.inc", f'dns {{ nameserver = ["127.0.0.1:{dns_port}"]; }}\nlocal_addrs = [];\n')
    stage.write("rspamd/local.d/worker-proxy.inc",
                f'bind_socket = "127.0.0.1:{milter}";\nmilter = yes;\nupstream "local" {{ self_scan = yes; default = yes; }}\ncount = 2;\n')
    stage.write("rspamd/local.d/worker-normal.inc", f'enabled = false;\nbind_socket = "127.0.0.1:{normal}";\n')
    stage.write("rspamd/local.d/worker-controller.inc", f'bind_socket = "127.0.0.1:{free_port()}";\n')
    stage.write("rspamd/local.d/worker-fuzzy.inc", "enabled = false;\n")
    stage.write("rspamd/local.d/logging.inc", 'type = "console";\nlevel = "warning";\n')
    # Its public services cannot be reached from here; waiting for them would be unfair.
    stage.write("rspamd/local.d/fuzzy_check.conf", "enabled = false;\n")
    stage.write("rspamd/local.d/asn.conf", "enabled = false;\n")
    variables = {"DBDIR": f"{folder}/db", "RUNDIR": f"{folder}/run", "LOGDIR": f"{folder}/log",
                 "LOCAL_CONFDIR": folder}
    command = ["rspamd", "-f", "-i", "-c", "/etc/rspamd/rspamd.conf"]
    for key, value in variables.items():
        command.append(f"--var={key}={value}")
    stage.start("rspamd", command)
    wait_for_port(milter, "rspamd")
    return milter
