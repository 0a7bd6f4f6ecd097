"""The network of a lab: a bridge on the controller, and for each host a namespace and a cable (veth) to the bridge."""

from __future__ import annotations

import json

from lab.run import run
from lab.state import Lab, LabHost


def setup(lab: Lab) -> None:
    """Create the bridge and the packet filter of the lab; what is there stays."""
    if lab.bridge not in _links():
        # An address of its own: else it takes over that of some cable, and changes it when that host is switched off.
        run(["ip", "link", "add", lab.bridge, "address", mac(lab, 255), "type", "bridge"])
    run(["ip", "address", "replace", f"{lab.address}/{lab.subnet.prefixlen}", "dev", lab.bridge])
    run(["ip", "link", "set", lab.bridge, "up"])
    run(["nft", "-f", "-"], stdin=ruleset(lab))


def ruleset(lab: Lab) -> str:
    """Return the nftables table of the lab, replacing an earlier one of the same name.

    Only what leaves the lab is masqueraded: bridged packets can pass this table too, and etcd refuses a peer whose
    address is not in its certificate. Hosts reach the controller at the bridge's address only, and no other lab.
    """
    table = f"ip {table_name(lab.id)}"
    inside = f'iifname "{lab.bridge}"'
    return f"""\
table {table} {{}}
delete table {table}
table {table} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {lab.subnet} ip daddr != {lab.subnet} masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {inside} oifname "ef*" oifname != "{lab.bridge}" drop
        {inside} tcp flags syn tcp option maxseg size set rt mtu
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        {inside} ip daddr != {{ {lab.subnet}, 224.0.0.0/4, 255.255.255.255 }} drop
    }}
}}
"""


def table_name(identity: str) -> str:
    """Name of the nftables table of the lab with that id."""
    return f"etcdfleet_{identity}"


def connect(lab: Lab, host: LabHost) -> None:
    """Give the host its network namespace, address and cable, replacing what an earlier start left."""
    disconnect(lab, host)
    namespace, cable = lab.netns(host), lab.veth(host)
    run(["ip", "netns", "add", namespace])
    run(["ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace])
    lines = [
        f"link set eth0 address {mac(lab, host.index)}",
        "link set lo up",
        f"address add {host.address}/{lab.subnet.prefixlen} dev eth0",
        "link set eth0 up",
        f"route add default via {lab.address}",
    ]
    run(["ip", "-netns", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")
    run(["ip", "link", "set", cable, "master", lab.bridge])
    set_cable(lab, host, plugged=not is_cut(lab, host))


def mac(lab: Lab, number: int) -> str:
    """Return a hardware address that a host keeps over restarts: neighbours remember it for minutes."""
    return ":".join(["02", "ef", lab.id[:2], lab.id[2:4], lab.id[4:], f"{number:02x}"])


def disconnect(lab: Lab, host: LabHost) -> None:
    """Remove the host's cable and namespace: from now on nothing answers at its address."""
    if lab.veth(host) in _links():
        run(["ip", "link", "delete", lab.veth(host)])
    if lab.netns(host) in _namespaces():
        run(["ip", "netns", "delete", lab.netns(host)])


def cut(lab: Lab, host: LabHost) -> None:
    """Pull the host's cable; it stays pulled over stop and start."""
    (lab.host_dir(host) / "cut").touch()
    set_cable(lab, host, plugged=False)


def heal(lab: Lab, host: LabHost) -> None:
    """Plug the host's cable in again."""
    (lab.host_dir(host) / "cut").unlink(missing_ok=True)
    set_cable(lab, host, plugged=True)


def is_cut(lab: Lab, host: LabHost) -> bool:
    """Return whether the host's cable is pulled."""
    return (lab.host_dir(host) / "cut").exists()


def set_cable(lab: Lab, host: LabHost, *, plugged: bool) -> None:
    """Bring the controller's end of the cable up or down; a host that is switched off has none."""
    if lab.veth(host) in _links():
        run(["ip", "link", "set", lab.veth(host), "up" if plugged else "down"])


def teardown(identity: str) -> None:
    """Remove every interface, namespace and table with the lab's mark, whatever state they are in."""
    for link in sorted(_links(), reverse=True):
        if link == f"ef{identity}" or link.startswith(f"ef{identity}-"):
            run(["ip", "link", "delete", link], check=False)  # the other end of a cable may be gone with this one
    for namespace in _namespaces():
        if namespace.startswith(f"ef{identity}-"):
            run(["ip", "netns", "delete", namespace])
    name = table_name(identity)
    run(["nft", "-f", "-"], stdin=f"table ip {name} {{}}\ndelete table ip {name}\n")


def leftovers(identity: str) -> list[str]:
    """Return what ``teardown`` would remove."""
    remains = [link for link in _links() if link == f"ef{identity}" or link.startswith(f"ef{identity}-")]
    remains += [namespace for namespace in _namespaces() if namespace.startswith(f"ef{identity}-")]
    if f"table ip {table_name(identity)}" in run(["nft", "list", "tables"]):
        remains.append(f"nftables {table_name(identity)}")
    return remains


def _links() -> set[str]:
    return {link["ifname"] for link in json.loads(run(["ip", "-json", "link"]) or "[]")}


def _namespaces() -> set[str]:
    return {line.split()[0] for line in run(["ip", "netns", "list"]).splitlines() if line.strip()}
