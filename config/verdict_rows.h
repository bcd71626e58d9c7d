// The groups of the verdict table. Internal to config/.
#pragma once

#include <span>

#include "config/verdicts.h"

namespace hull::config {

std::span<const VerdictRow> domain_rows();
std::span<const VerdictRow> cpu_rows();
std::span<const VerdictRow> device_rows();
std::span<const VerdictRow> disk_rows();
std::span<const VerdictRow> encryption_rows();
std::span<const VerdictRow> interface_rows();

}  // namespace hull::config
