// From a domain document to a DomainConfig: every element and attribute gets its verdict, all
// refusals are collected, and nothing is opened or looked up but disks with startupPolicy
// 'optional'.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/domain.h"
#include "config/findings.h"
#include "config/xml.h"

namespace hull::config {

struct DomainReading {
  DomainConfig config;  // complete and valid if there is no refusal
  std::vector<Finding> warnings;
  std::vector<Finding> refusals;

  bool accepted() const { return refusals.empty(); }
  // All refusals as one error of kind kInvalidConfig, one line each, with their places in `source`.
  Error refusal(std::string_view source) const;
};

// Errors (kInvalidConfig): the text is not XML within our limits, or its root is not <domain>; then
// there is one message, "SOURCE:LINE:COLUMN: what". Everything else is a finding, validate()'s
// problems included. Absent MAC addresses and the UUID are filled in.
Result<DomainReading> read_domain(std::string_view text, std::string_view source_name,
                                  const ReadOptions& options);

}  // namespace hull::config
