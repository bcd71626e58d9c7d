// Domain documents for tests, and what the reader says about them as text.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "config/domain_reader.h"

namespace hull::testing {

// A document that boots without a warning, with `general` and `devices` put into it.
inline std::string domain_document(std::string_view devices, std::string_view general = "") {
  return std::string(
             "<domain type='kvm'><name>a</name><memory unit='MiB'>256</memory>"
             "<os><type>hvm</type><kernel>/k</kernel></os>") +
         std::string(general) + "<devices>" + std::string(devices) + "</devices></domain>";
}

inline config::DomainReading read_document(std::string_view document,
                                           const config::ReadOptions& options = {}) {
  auto reading = config::read_domain(document, "d.xml", options);
  EXPECT_TRUE(reading) << reading.error().message();
  return reading ? *std::move(reading) : config::DomainReading{};
}

// The lines as a user sees them, behind "warning: " and "error: ".
inline std::string lines(const std::vector<config::Finding>& findings) {
  std::string joined;
  for (const config::Finding& finding : findings)
    joined += (joined.empty() ? "" : "\n") + finding.text();
  return joined;
}

}  // namespace hull::testing
