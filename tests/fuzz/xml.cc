// A document through the reader and validate(): what the reader accepts, validate() accepts too,
// and its name is fit for a path.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "config/domain_reader.h"
#include "config/paths.h"
#include "config/validate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hull::config;
  if (size == 0) return 0;
  // The first byte chooses the options.
  ReadOptions options;
  options.strict = (data[0] & 1) != 0;
  if ((data[0] & 2) != 0) options.ignore = {"disk", "/domain/devices/tpm", "interface/@type"};
  const std::string_view document(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto reading = read_domain(document, "fuzz.xml", options);
  if (!reading || !reading->accepted()) return 0;
  CHECK(validate(reading->config).empty());
  CHECK(hull::config::Paths::below("/x")->of_domain(reading->config.name, 1).has_value());
  return 0;
}
