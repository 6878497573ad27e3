"""Signs and checks with dkimpy what the tests of this crate sign and check. A list of orders on standard input, as JSON; a list of
answers on standard output. Messages are base64."""

import base64
import json
import sys

import dkim


def signed(order, zone):
    headers = [name.encode() for name in order["headers"]] if order.get("headers") else None
    key = order["key"].encode()
    field = dkim.sign(
        order["message"],
        order["selector"].encode(),
        order["domain"].encode(),
        key,
        canonicalize=tuple(part.encode() for part in order.get("canonicalization", "relaxed/relaxed").split("/")),
        signature_algorithm=order.get("algorithm", "rsa-sha256").encode(),
        include_headers=headers,
        length=order.get("length", False),
    )
    return base64.b64encode(field + order["message"]).decode()


def verified(order, zone):
    checked = dkim.DKIM(order["message"])
    try:
        return checked.verify(idx=order.get("index", 0), dnsfunc=zone)
    except dkim.DKIMException:
        return False


def sealed(order, zone):
    fields = dkim.arc_sign(
        order["message"],
        order["selector"].encode(),
        order["domain"].encode(),
        order["key"].encode(),
        order["authserv_id"].encode(),
        timestamp=order["at"],
        include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
        standardize=True,
    )
    return base64.b64encode(b"".join(fields) + order["message"]).decode()


def chain(order, zone):
    result, _, _ = dkim.arc_verify(order["message"], dnsfunc=zone)
    return result.decode() if result else "none"


ORDERS = {"sign": signed, "verify": verified, "seal": sealed, "chain": chain}


def main():
    answers = []
    for order in json.load(sys.stdin):
        records = {name.rstrip("."): text.encode() for name, text in order.get("zone", {}).items()}
        order["message"] = base64.b64decode(order["message"])

        def zone(name, timeout=5):
            name = name.decode() if isinstance(name, bytes) else name
            return records.get(name.rstrip("."))

        answers.append(ORDERS[order["do"]](order, zone))
    json.dump(answers, sys.stdout)


main()
