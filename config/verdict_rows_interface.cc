// Verdicts for <interface>.
#include "config/verdict_rows.h"

namespace hull::config {

namespace {

using enum Verdict;

// libvirt's default type is user.
constexpr std::string_view kUserMode =
    "user-mode networking is not built in: use type='ethernet' or 'bridge'; skipping leaves the "
    "interface unconnected";

constexpr VerdictRow kRows[] = {
    {"/domain/devices/interface", "~no model", kWarn,
     "presented as virtio-net (libvirt's default model is rtl8139)"},
    {"/domain/devices/interface", "@type=", kRefuse, kUserMode},
    {"/domain/devices/interface", "", kHonour},
    {"/domain/devices/interface/@type", "ethernet|bridge", kHonour},
    {"/domain/devices/interface/@type", "null", kHonour, "connected to nothing"},
    {"/domain/devices/interface/@type", "user", kRefuse, kUserMode},
    {"/domain/devices/interface/@type", "network", kRefuse,
     "networks are not looked up: use type='bridge' with the network's bridge; skipping leaves the "
     "interface unconnected"},
    {"/domain/devices/interface/@type", "", kRefuse,
     "this kind of interface is not supported; skipping leaves it unconnected"},
    {"/domain/devices/interface/@managed", "", kSilent},
    {"/domain/devices/interface/@trustGuestRxFilters", "", kSilent},
    {"/domain/devices/interface/mac", "", kHonour, "", kUnique},
    {"/domain/devices/interface/mac/@address", "~used twice", kWarn,
     "another interface has the same address"},
    {"/domain/devices/interface/mac/@address", "", kHonour,
     "derived from the UUID or name if absent"},
    {"/domain/devices/interface/mac/@type", "", kSilent},
    {"/domain/devices/interface/mac/@check", "", kSilent},
    {"/domain/devices/interface/mac/@currentAddress", "", kSilent},
    {"/domain/devices/interface/model", "", kSilent, "", kUnique},
    {"/domain/devices/interface/model/@type", "virtio|virtio-transitional|virtio-non-transitional",
     kSilent},
    {"/domain/devices/interface/model/@type", "", kWarn, "presented as virtio-net"},
    {"/domain/devices/interface/source", "", kHonour, "", kUnique},
    {"/domain/devices/interface/source/@bridge", "", kHonour},
    {"/domain/devices/interface/source/@network", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@portgroup", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@portid", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@dev", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@mode", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@type", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@path", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@name", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@address", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/@port", "", kSilent, "the interface's type decides"},
    {"/domain/devices/interface/source/address", "", kSilent, "the interface's type decides",
     kSubtree},
    {"/domain/devices/interface/source/local", "", kSilent, "the interface's type decides",
     kSubtree},
    {"/domain/devices/interface/source/reconnect", "", kSilent, "the interface's type decides",
     kSubtree},
    {"/domain/devices/interface/source/ip", "", kWarn, "addresses on the host side are not set",
     kSubtree | kOnce},
    {"/domain/devices/interface/source/route", "", kWarn, "routes on the host side are not set",
     kSubtree | kOnce},
    {"/domain/devices/interface/actual", "", kSilent, "state of a running domain", kSubtree},
    {"/domain/devices/interface/target", "", kHonour, "", kUnique},
    {"/domain/devices/interface/target/@dev", "", kHonour, "names beginning with vnet are dropped"},
    {"/domain/devices/interface/target/@managed", "yes|no", kHonour},
    {"/domain/devices/interface/target/@managed", "", kRefuse, "is neither yes nor no"},
    {"/domain/devices/interface/mtu", "", kHonour, "", kUnique},
    {"/domain/devices/interface/mtu/@size", "", kHonour},
    {"/domain/devices/interface/link", "", kHonour, "", kUnique},
    {"/domain/devices/interface/link/@state", "up|down", kHonour},
    {"/domain/devices/interface/link/@state", "", kRefuse, "is neither up nor down"},
    {"/domain/devices/interface/driver", "~several queues", kWarn, "presented with one queue pair"},
    {"/domain/devices/interface/driver", "", kSilent, "", kSubtree},
    {"/domain/devices/interface/rom", "", kSilent, "", kSubtree},
    {"/domain/devices/interface/coalesce", "", kSilent, "", kSubtree},
    {"/domain/devices/interface/tune", "", kSilent, "", kSubtree},
    {"/domain/devices/interface/boot", "", kWarn, "no network boot", kSubtree | kOnce},
    {"/domain/devices/interface/bandwidth", "", kWarn, "bandwidth limits are not applied",
     kSubtree},
    {"/domain/devices/interface/vlan", "", kRefuse, "the interface would be in another network",
     kSubtree},
    {"/domain/devices/interface/virtualport", "", kRefuse,
     "the interface would be in another network", kSubtree},
    {"/domain/devices/interface/filterref", "", kRefuse,
     "the network filter would not protect anybody", kSubtree},
    {"/domain/devices/interface/port", "@isolated=yes", kRefuse, "the port would not be isolated",
     kSubtree},
    {"/domain/devices/interface/port", "", kSilent, "", kSubtree},
    {"/domain/devices/interface/backend", "@type=|default|passt", kSilent, "", kSubtree},
    {"/domain/devices/interface/backend", "", kRefuse, "unknown network back end", kSubtree},
    {"/domain/devices/interface/ip", "", kWarn, "the guest's address is not set", kSubtree | kOnce},
    {"/domain/devices/interface/route", "", kWarn, "the guest's routes are not set",
     kSubtree | kOnce},
    {"/domain/devices/interface/portForward", "", kWarn, "ports are not forwarded",
     kSubtree | kOnce},
    {"/domain/devices/interface/script", "", kWarn, "the script is not run", kSubtree},
    {"/domain/devices/interface/downscript", "", kWarn, "the script is not run", kSubtree},
    {"/domain/devices/interface/backenddomain", "", kRefuse, "driver domains are Xen's", kSubtree},
    {"/domain/devices/interface/guest", "", kWarn, "ignored", kSubtree},
    {"/domain/devices/interface/teaming", "", kWarn, "ignored", kSubtree},
};

}  // namespace

std::span<const VerdictRow> interface_rows() { return kRows; }

}  // namespace hull::config
