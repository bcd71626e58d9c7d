// A domain document as a file on the command line.
#pragma once

#include <string>

#include "base/result.h"
#include "config/domain_reader.h"

namespace hull::cli {

// Reads and judges `file`; "-" is standard input. Nothing but the document is opened. Errors: the
// file cannot be read (kIo), or what read_domain() says.
Result<config::DomainReading> read_domain_file(const std::string& file,
                                               const config::ReadOptions& options);

// How messages call `file`.
std::string source_of(const std::string& file);

}  // namespace hull::cli
