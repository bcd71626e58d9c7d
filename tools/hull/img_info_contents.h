// What `hull img info --contents` says besides.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "blockcore/contents/contents.h"

namespace hull::cli {

// With its final newline.
std::string contents_text(const blockcore::DiskContents& contents);
nlohmann::ordered_json contents_json(const blockcore::DiskContents& contents);

}  // namespace hull::cli
