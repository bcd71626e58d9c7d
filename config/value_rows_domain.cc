// Values of everything outside <devices>.
#include "config/value_rows.h"

namespace hull::config {

namespace {

using enum ValueKind;

constexpr ValueRow kRows[] = {
    {"/domain/clock", "timer/@frequency", kNumber},
    {"/domain/defaultiothread", "@thread_pool_min @thread_pool_max", kInteger},
    {"/domain/iothreadids", "iothread/@thread_pool_min iothread/@thread_pool_max", kInteger},
    {"/domain/cputune", "emulator_period", kNumber},
    {"/domain/cputune", "emulator_quota", kInteger},
    {"/domain/os", "bootmenu/@timeout", kNumber},
    {"/domain/on_lockfailure", ".", kWords, "ignore|pause|poweroff|restart"},
    {"/domain/os", "bios/@useserial", kYesNo},
    {"/domain/perf", "event/@enabled", kYesNo},
    {"/domain", "@id", kNumber},
    {"/domain", "genid", kUuid},
    {"/domain/devices/emulator", ".", kPath},
    {"/domain/blkiotune",
     "device/read_bytes_sec device/read_iops_sec device/weight device/write_bytes_sec "
     "device/write_iops_sec",
     kNumber},
    {"/domain/clock", "@start timer/catchup/@limit timer/catchup/@slew timer/catchup/@threshold",
     kNumber},
    {"/domain/clock", "@offset", kWords, "absolute|localtime|timezone|utc|variable"},
    {"/domain/clock", "timer/@name", kWords,
     "armvtimer|hpet|hypervclock|kvmclock|pit|platform|rtc|tsc"},
    {"/domain/clock", "timer/@mode", kWords, "auto|emulate|native|paravirt|smpsafe"},
    {"/domain/clock", "timer/@track", kWords, "boot|guest|realtime|wall"},
    {"/domain/clock", "timer/@tickpolicy", kWords, "catchup|delay|discard|merge"},
    {"/domain/clock", "@basis", kWords, "localtime|utc"},
    {"/domain/clock", "timer/@present", kYesNo},
    {"/domain/cpu", "model/@vendor_id", kExactlyCharacters, "12"},
    {"/domain/cpu",
     "maxphysaddr/@bits numa/cell/cache/@level numa/cell/cache/line/@value "
     "numa/cell/cache/size/@value numa/cell/distances/sibling/@id "
     "numa/cell/distances/sibling/@value numa/interconnects/bandwidth/@cache "
     "numa/interconnects/bandwidth/@initiator numa/interconnects/bandwidth/@target "
     "numa/interconnects/bandwidth/@value numa/interconnects/latency/@cache "
     "numa/interconnects/latency/@initiator numa/interconnects/latency/@target "
     "numa/interconnects/latency/@value",
     kNumber},
    {"/domain/cpu", "numa/interconnects/bandwidth/@unit", kUnit},
    {"/domain/cpu", "cache/@level", kWords, "1|2|3"},
    {"/domain/cpu", "numa/interconnects/bandwidth/@type numa/interconnects/latency/@type", kWords,
     "access|read|write"},
    {"/domain/cpu", "@mode", kWords, "custom|host-model|host-passthrough|maximum"},
    {"/domain/cpu", "@check", kWords, "default|full|none|partial"},
    {"/domain/cpu", "numa/cell/cache/@associativity", kWords, "direct|full|none"},
    {"/domain/cpu", "cache/@mode", kWords, "disable|emulate|passthrough"},
    {"/domain/cpu", "feature/@policy", kWords, "disable|forbid|force|optional|require"},
    {"/domain/cpu", "maxphysaddr/@mode", kWords, "emulate|passthrough"},
    {"/domain/cpu", "@match", kWords, "exact|minimum|strict"},
    {"/domain/cpu", "numa/cell/cache/@policy", kWords, "none|writeback|writethrough"},
    {"/domain/cpu", "numa/cell/@discard", kYesNo},
    {"/domain/cpu", "@migratable", kOnOff},
    {"/domain/cpu", "numa/cell/@memAccess", kWords, "private|shared"},
    {"/domain/cputune",
     "cachetune/@vcpus cachetune/monitor/@vcpus emulatorpin/@cpuset iothreadpin/@cpuset "
     "iothreadsched/@iothreads memorytune/@vcpus memorytune/monitor/@vcpus vcpupin/@cpuset "
     "vcpusched/@vcpus",
     kCpus},
    {"/domain/cputune",
     "emulatorsched/@priority global_quota iothread_quota iothreadsched/@priority quota "
     "vcpusched/@priority",
     kInteger},
    {"/domain/cputune",
     "cachetune/cache/@id cachetune/cache/@level cachetune/cache/@size cachetune/monitor/@level "
     "global_period iothread_period iothreadpin/@iothread memorytune/node/@bandwidth "
     "memorytune/node/@id period shares vcpupin/@vcpu",
     kNumber},
    {"/domain/cputune", "cachetune/cache/@unit", kUnit},
    {"/domain/cputune", "emulatorsched/@scheduler iothreadsched/@scheduler vcpusched/@scheduler",
     kWords, "batch|fifo|idle|rr"},
    {"/domain/cputune", "cachetune/cache/@type", kWords, "both|code|data"},
    {"/domain/features",
     "hpt/maxpagesize hyperv/spinlocks/@retries kvm/dirty-ring/@size smm/tseg tcg/tb-cache",
     kNumber},
    {"/domain/features", "hpt/maxpagesize/@unit smm/tseg/@unit tcg/tb-cache/@unit", kUnit},
    {"/domain/features", "gic/@version", kWords, "2|3|host"},
    {"/domain/features", "ibs/@value", kWords, "broken|fixed-ccd|fixed-ibs|fixed-na|workaround"},
    {"/domain/features", "cfpc/@value sbbc/@value", kWords, "broken|fixed|workaround"},
    {"/domain/features", "hyperv/@mode", kWords, "custom|host-model|passthrough"},
    {"/domain/features", "hpt/@resizing", kWords, "disabled|enabled|required"},
    {"/domain/features", "msrs/@unknown", kWords, "fault|ignore"},
    {"/domain/features", "ioapic/@driver", kWords, "kvm|qemu"},
    {"/domain/features",
     "apic/@eoi ccf-assist/@state hap/@state htm/@state hyperv/avic/@state hyperv/evmcs/@state "
     "hyperv/frequencies/@state hyperv/ipi/@state hyperv/reenlightenment/@state "
     "hyperv/relaxed/@state hyperv/reset/@state hyperv/runtime/@state hyperv/spinlocks/@state "
     "hyperv/stimer/@state hyperv/stimer/direct/@state hyperv/synic/@state hyperv/tlbflush/@state "
     "hyperv/vapic/@state hyperv/vendor_id/@state hyperv/vpindex/@state kvm/dirty-ring/@state "
     "kvm/hidden/@state kvm/hint-dedicated/@state kvm/poll-control/@state kvm/pv-ipi/@state "
     "nested-hv/@state pmu/@state pvspinlock/@state smm/@state vmcoreinfo/@state vmport/@state "
     "xen/passthrough/@state",
     kOnOff},
    {"/domain/features", "xen/passthrough/@mode", kWords, "share_pt|sync_pt"},
    {"/domain/idmap", "gid/@count gid/@start gid/@target uid/@count uid/@start uid/@target",
     kNumber},
    {"/domain/iothreadids", "iothread/@id", kNumber},
    {"/domain/iothreads", ".", kNumber},
    {"/domain/keywrap", "cipher/@name", kWords, "aes|dea"},
    {"/domain/keywrap", "cipher/@state", kOnOff},
    {"/domain/launchSecurity", "cbitpos policy reducedPhysBits", kNumber},
    {"/domain/launchSecurity", "@kernelHashes", kYesNo},
    {"/domain/launchSecurity", "@type", kWords, "s390-pv|sev|sev-snp|tdx"},
    {"/domain/maxMemory", ". @slots", kNumber},
    {"/domain/maxMemory", "@unit", kUnit},
    {"/domain/memoryBacking", "hugepages/page/@nodeset", kCpus},
    {"/domain/memoryBacking", "allocation/@threads", kNumber},
    {"/domain/memoryBacking", "source/@type", kWords, "anonymous|file|memfd"},
    {"/domain/memoryBacking", "allocation/@mode", kWords, "immediate|ondemand"},
    {"/domain/memoryBacking", "access/@mode", kWords, "private|shared"},
    {"/domain/memtune", "hard_limit min_guarantee soft_limit swap_hard_limit", kNumber},
    {"/domain/memtune",
     "hard_limit/@unit min_guarantee/@unit soft_limit/@unit swap_hard_limit/@unit", kUnit},
    {"/domain/numatune", "memnode/@nodeset memory/@nodeset", kCpus},
    {"/domain/numatune", "memnode/@cellid", kNumber},
    {"/domain/numatune", "memory/@placement", kWords, "auto|default|static"},
    {"/domain/numatune", "memnode/@mode memory/@mode", kWords,
     "interleave|preferred|restrictive|strict"},
    {"/domain/os", "bios/@rebootTimeout", kInteger},
    {"/domain/os", "nvram/source/host/@port", kNumber},
    {"/domain/os", "nvram/@type", kWords, "block|dir|file|network|nvme|vhostuser|volume"},
    {"/domain/os", "boot/@dev", kWords, "cdrom|fd|hd|network"},
    {"/domain/os", "smbios/@mode", kWords, "emulate|host|none|sysinfo"},
    {"/domain/os", "firmware/feature/@name", kWords, "enrolled-keys|secure-boot"},
    {"/domain/os", "nvram/source/@protocol", kWords,
     "ftp|ftps|gluster|http|https|iscsi|nbd|nfs|none|rbd|sheepdog|tftp|vxhs"},
    {"/domain/os",
     "bootmenu/@enable firmware/feature/@enabled loader/@readonly loader/@secure loader/@stateless",
     kYesNo},
    {"/domain/os", "loader/@type", kWords, "pflash|rom"},
    {"/domain/os", "acpi/table/@type", kWords, "slic"},
    {"/domain/pm", "suspend-to-disk/@enabled suspend-to-mem/@enabled", kYesNo},
    {"/domain/seclabel", "@type", kWords, "dynamic|none|static"},
    {"/domain/seclabel", "@relabel", kYesNo},
    {"/domain/sysinfo", "@type", kWords, "fwcfg|smbios"},
    {"/domain/vcpu", "@cpuset", kCpus},
    {"/domain/vcpu", "@placement", kWords, "auto|static"},
    {"/domain/vcpus", "vcpu/@id vcpu/@order", kNumber},
    {"/domain/vcpus", "vcpu/@enabled vcpu/@hotpluggable", kYesNo},
};

}  // namespace

std::span<const ValueRow> domain_values() { return kRows; }

}  // namespace hull::config
