// The CPU features that a domain document may name (<feature policy='disable' name='avx2'/>), and
// where the processor reports each. One table for whoever checks a name and whoever masks the bit.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace hull {

struct X86CpuFeature {
  enum class Place : uint8_t { kEax, kEbx, kEcx, kEdx, kMsr };

  std::string_view name;  // libvirt's
  uint32_t leaf;          // of CPUID; kMsr: the number of the MSR
  uint32_t subleaf;       // 0 where the leaf has none
  Place place;
  uint8_t bit;
};

// All names differ.
std::span<const X86CpuFeature> x86_cpu_features();

// nullptr if there is no such name.
const X86CpuFeature* find_x86_cpu_feature(std::string_view name);

// Details of VMX ("vmx-apicv-xapic"), which newer documents name one by one. They stand in its
// capability MSRs: a guest that is not shown VMX sees none of them.
bool is_x86_vmx_detail(std::string_view name);

}  // namespace hull
