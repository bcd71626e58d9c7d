// Verdicts for all devices but disks and network interfaces.
#include "config/verdict_rows.h"

namespace hull::config {

namespace {

using enum Verdict;

constexpr std::string_view kHeadless =
    "graphics, video and input devices are left out (headless: use the serial console)";
constexpr std::string_view kNoTls = "TLS is not supported on character devices";

constexpr VerdictRow kRows[] = {
    {"/domain/devices/*/alias", "", kSilent, "", kSubtree},
    {"/domain/devices/*/address", "", kSilent, "placement is hull's", kSubtree},
    {"/domain/devices/*/acpi", "", kSilent, "", kSubtree},
    {"/domain/devices/emulator", "", kSilent, "never executed", kSubtree},
    {"/domain/devices/controller", "", kSilent, "", kSubtree},
    {"/domain/devices/hub", "", kSilent, "", kSubtree},
    {"/domain/devices/graphics", "", kWarn, kHeadless, kSubtree | kOnce},
    {"/domain/devices/video", "", kWarn, kHeadless, kSubtree | kOnce},
    {"/domain/devices/input", "", kWarn, kHeadless, kSubtree | kOnce},
    {"/domain/devices/audio", "", kSilent, "", kSubtree},
    {"/domain/devices/sound", "", kSilent, "", kSubtree},
    {"/domain/devices/redirdev", "", kSilent, "", kSubtree},
    {"/domain/devices/redirfilter", "", kSilent, "", kSubtree},
    {"/domain/devices/smartcard", "", kSilent, "", kSubtree},
    {"/domain/devices/parallel", "", kSilent, "", kSubtree},
    {"/domain/devices/memballoon", "@model=none", kSilent, "there is none", kSubtree},
    {"/domain/devices/memballoon", "", kWarn, "left out (no balloon device)", kSubtree | kOnce},

    {"/domain/devices/serial", "~extra", kWarn, "left out (there is one serial port)", kSubtree},
    {"/domain/devices/serial", "~virtio console", kWarn,
     "presented as the serial port ttyS0 (no virtio console)"},
    {"/domain/devices/serial", "", kHonour, "<serial>, <console> or both are one serial port"},
    {"/domain/devices/serial/@type", "pty|stdio|file|unix|null", kHonour, "default pty"},
    {"/domain/devices/serial/@type", "vc", kWarn, "presented as a pty"},
    {"/domain/devices/serial/@type", "tcp|udp", kWarn,
     "not offered on the network: output goes to the log only (use unix or pty)"},
    {"/domain/devices/serial/@type", "spicevmc|spiceport|qemu-vdagent|dbus", kSilent},
    {"/domain/devices/serial/@type", "", kRefuse, "console type is not supported"},
    {"/domain/devices/serial/@tty", "", kSilent},
    {"/domain/devices/serial/source", "~connecting socket", kRefuse,
     "hull's console listens (mode='bind') and does not connect (libvirt's default)"},
    {"/domain/devices/serial/source", "", kHonour},
    {"/domain/devices/serial/source/@path", "", kHonour},
    {"/domain/devices/serial/source/@mode", "", kHonour},
    {"/domain/devices/serial/source/@append", "on|off", kHonour},
    {"/domain/devices/serial/source/@append", "", kRefuse, "is neither on nor off"},
    {"/domain/devices/serial/source/@host", "", kSilent},
    {"/domain/devices/serial/source/@service", "", kSilent},
    {"/domain/devices/serial/source/@tls", "yes", kRefuse, kNoTls},
    {"/domain/devices/serial/source/@tls", "", kSilent},
    {"/domain/devices/serial/source/@channel", "", kSilent},
    {"/domain/devices/serial/source/@master", "", kSilent},
    {"/domain/devices/serial/source/@slave", "", kSilent},
    {"/domain/devices/serial/source/reconnect", "", kSilent, "", kSubtree},
    {"/domain/devices/serial/source/seclabel", "", kSilent, "", kSubtree},
    {"/domain/devices/serial/protocol", "@type=tls", kRefuse, kNoTls, kSubtree},
    {"/domain/devices/serial/protocol", "", kSilent, "", kSubtree},
    {"/domain/devices/serial/log", "", kHonour,
     "a copy of all output; at 2 MiB it is moved to FILE.0, and three old ones are kept"},
    {"/domain/devices/serial/log/@file", "", kHonour},
    {"/domain/devices/serial/log/@append", "on|off", kHonour, "default on"},
    {"/domain/devices/serial/log/@append", "", kRefuse, "is neither on nor off"},
    {"/domain/devices/serial/target", "", kSilent},
    {"/domain/devices/serial/target/@type", "isa-serial|serial", kSilent},
    // Those of <console>; read_console() has its say about them.
    {"/domain/devices/serial/target/@type", "virtio|xen|lxc|openvz|uml|sclp|sclplm", kSilent},
    {"/domain/devices/serial/target/@type", "", kWarn, "presented as the ISA serial port ttyS0"},
    {"/domain/devices/serial/target/@port", "~not the first", kWarn,
     "presented as the first serial port, ttyS0"},
    {"/domain/devices/serial/target/@port", "", kSilent, "0"},
    {"/domain/devices/serial/target/address", "", kSilent, "", kSubtree},
    {"/domain/devices/serial/target/model", "", kSilent, "the type decides", kSubtree},
    {"/domain/devices/channel", "@type=spicevmc|spiceport|qemu-vdagent|dbus", kSilent, "",
     kSubtree},
    {"/domain/devices/channel", "~guest agent", kWarn,
     "left out (no guest agent channel: shutdown presses the power button)"},
    {"/domain/devices/channel", "~other", kWarn, "left out (no channels to the guest)"},
    {"/domain/devices/channel", "", kSilent, "", kSubtree},

    {"/domain/devices/rng", "~second", kWarn, "left out (one random number device is enough)"},
    {"/domain/devices/rng", "", kHonour},
    {"/domain/devices/rng/@model", "virtio|virtio-transitional|virtio-non-transitional", kSilent},
    {"/domain/devices/rng/@model", "", kWarn, "presented as virtio-rng"},
    {"/domain/devices/rng/backend", "~another source", kWarn,
     "read from the host kernel's generator instead"},
    {"/domain/devices/rng/backend", "", kHonour, "the host kernel's generator", kUnique},
    {"/domain/devices/rng/backend/@model", "random|builtin", kSilent},
    {"/domain/devices/rng/backend/@model", "egd", kWarn, "read from /dev/urandom instead"},
    {"/domain/devices/rng/backend/@model", "", kRefuse, "unknown source of random numbers"},
    {"/domain/devices/rng/backend/@type", "", kSilent},
    {"/domain/devices/rng/backend/source", "", kSilent, "", kSubtree},
    {"/domain/devices/rng/backend/protocol", "", kSilent, "", kSubtree},
    {"/domain/devices/rng/rate", "", kHonour},
    {"/domain/devices/rng/rate/@bytes", "", kHonour},
    {"/domain/devices/rng/rate/@period", "", kHonour, "milliseconds"},
    {"/domain/devices/rng/driver", "", kSilent, "", kSubtree},

    {"/domain/devices/panic", "@model=|isa|pvpanic", kHonour},
    {"/domain/devices/panic", "", kWarn, "presented as ISA pvpanic"},
    {"/domain/devices/panic/@model", "", kSilent, "see panic"},
    {"/domain/devices/watchdog", "@model=itco", kSilent, "", kSubtree},
    {"/domain/devices/watchdog", "", kWarn, "left out (no watchdog)", kSubtree},

    {"/domain/devices/filesystem", "", kRefuse, "the guest could not mount it (no shared folders)",
     kSubtree},
    {"/domain/devices/vsock", "", kRefuse, "no vsock device", kSubtree},
    {"/domain/devices/tpm", "", kRefuse, "guest may depend on it to unlock disks", kSubtree},
    {"/domain/devices/hostdev", "", kRefuse, "host devices cannot be passed through", kSubtree},
    {"/domain/devices/lease", "", kRefuse, "the lock manager's lease would not be held", kSubtree},
    {"/domain/devices/memory", "", kRefuse, "memory devices are not supported", kSubtree},
    {"/domain/devices/shmem", "", kRefuse, "shared memory devices are not supported", kSubtree},
    {"/domain/devices/iommu", "", kWarn, "left out (no IOMMU)", kSubtree},
    {"/domain/devices/crypto", "", kWarn, "left out (no crypto device)", kSubtree},
    {"/domain/devices/nvram", "", kWarn, "left out", kSubtree},
    {"/domain/devices/pstore", "", kWarn, "left out (no pstore)", kSubtree},
};

}  // namespace

std::span<const VerdictRow> device_rows() { return kRows; }

}  // namespace hull::config
