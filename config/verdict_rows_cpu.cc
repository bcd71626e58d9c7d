// Verdicts for <cpu>.
#include "config/verdict_rows.h"

namespace hull::config {

namespace {

using enum Verdict;

constexpr VerdictRow kRows[] = {
    {"/domain/cpu", "~full check of a custom model", kRefuse,
     "the CPU model cannot be guaranteed (the guest gets the host's CPU)"},
    {"/domain/cpu", "", kHonour, "", kUnique},
    {"/domain/cpu/@mode", "host-passthrough|host-model|maximum", kSilent, "the host's CPU"},
    {"/domain/cpu/@mode", "custom", kSilent, "see model"},
    {"/domain/cpu/@mode", "", kWarn, "the guest gets the host's CPU"},
    {"/domain/cpu/@match", "strict", kRefuse,
     "the CPU model cannot be guaranteed (the guest gets the host's CPU)"},
    {"/domain/cpu/@match", "", kSilent, "see model"},
    {"/domain/cpu/@check", "", kSilent},
    {"/domain/cpu/@migratable", "", kSilent},
    {"/domain/cpu/@deprecated_features", "", kSilent},
    {"/domain/cpu/model", "~custom", kWarn, "the guest gets the host's CPU instead"},
    {"/domain/cpu/model", "", kSilent, "", kUnique},
    {"/domain/cpu/model/@fallback", "allow", kSilent},
    {"/domain/cpu/model/@fallback", "", kRefuse,
     "the CPU model cannot be guaranteed (the guest gets the host's CPU)"},
    {"/domain/cpu/model/@vendor_id", "", kWarn, "the guest sees the host's CPU vendor"},
    {"/domain/cpu/vendor", "", kWarn, "the guest sees the host's CPU vendor"},
    {"/domain/cpu/feature", "@policy=disable", kHonour, "hidden from the guest"},
    {"/domain/cpu/feature", "@policy=optional", kSilent, "there if the host has it"},
    {"/domain/cpu/feature", "@policy=require|force|", kHonour,
     "the domain does not start on a host without it"},
    {"/domain/cpu/feature", "", kRefuse,
     "CPU features can be required, optional or disabled, not forbidden"},
    {"/domain/cpu/feature/@name", "", kHonour},
    {"/domain/cpu/feature/@policy", "", kHonour},
    {"/domain/cpu/topology", "~other than cores of one socket", kWarn,
     "vCPUs are presented as cores of one socket"},
    {"/domain/cpu/topology", "", kSilent, "the product must be the number of vCPUs", kUnique},
    {"/domain/cpu/topology/@sockets", "", kSilent, "see topology"},
    {"/domain/cpu/topology/@dies", "", kSilent, "see topology"},
    {"/domain/cpu/topology/@clusters", "", kSilent, "see topology"},
    {"/domain/cpu/topology/@cores", "", kSilent, "see topology"},
    {"/domain/cpu/topology/@threads", "", kSilent, "see topology"},
    {"/domain/cpu/cache", "", kSilent, "", kSubtree},
    {"/domain/cpu/maxphysaddr", "@mode=passthrough", kSilent, "always so", kSubtree},
    {"/domain/cpu/maxphysaddr", "", kWarn, "the guest has the host's address width", kSubtree},
    {"/domain/cpu/numa", "~more than one cell", kRefuse, "guests have one NUMA cell only"},
    {"/domain/cpu/numa", "", kHonour, "one cell is a plain guest", kUnique},
    {"/domain/cpu/numa/cell", "", kHonour},
    {"/domain/cpu/numa/cell/@id", "", kSilent, "0"},
    {"/domain/cpu/numa/cell/@cpus", "", kSilent, "there must be as many vCPUs"},
    {"/domain/cpu/numa/cell/@memory", "", kHonour},
    {"/domain/cpu/numa/cell/@unit", "", kHonour},
    {"/domain/cpu/numa/cell/@memAccess", "", kSilent},
    {"/domain/cpu/numa/cell/@discard", "", kSilent},
    {"/domain/cpu/numa/cell/distances", "", kSilent, "", kSubtree},
    {"/domain/cpu/numa/cell/cache", "", kSilent, "", kSubtree},
    {"/domain/cpu/numa/interconnects", "", kSilent, "", kSubtree},
};

}  // namespace

std::span<const VerdictRow> cpu_rows() { return kRows; }

}  // namespace hull::config
