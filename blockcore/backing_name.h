// The names under which image headers refer to other files. They come from the image, so they are
// hostile: a plain path is all that is accepted.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hull::blockcore {

// The path of the file that `image_path` calls `name`: relative names are relative to the image's
// directory. kUnsupported for "json:…", "nbd:…" and the like; kInvalidFormat for an empty name or
// one with a zero byte.
Result<std::string> resolve_backing_name(std::string_view image_path, std::string_view name);
// The same for the name of an external data file.
Result<std::string> resolve_data_file_name(std::string_view image_path, std::string_view name);

}  // namespace hull::blockcore
