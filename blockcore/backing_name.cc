#include "blockcore/backing_name.h"

namespace hull::blockcore {

namespace {

// As QEMU sees it: "scheme:" before the first slash.
bool has_scheme(std::string_view name) {
  const size_t colon = name.find(':');
  return colon != std::string_view::npos && name.find('/') > colon;
}

Result<std::string> resolve(std::string_view image_path, std::string_view name,
                            std::string_view what) {
  if (name.starts_with("file:")) name.remove_prefix(5);
  if (name.empty() || name.find('\0') != std::string_view::npos)
    return fail(ErrorKind::kInvalidFormat, "{}: the name of its {} is empty or damaged", image_path,
                what);
  if (has_scheme(name))
    return fail(ErrorKind::kUnsupported,
                "{}: its {} '{}' is not a plain path, which is all that hull opens on an image's "
                "word; a backing file that you trust can be named in <backingStore>",
                image_path, what, name);
  const size_t slash = image_path.rfind('/');
  if (name.front() == '/' || slash == std::string_view::npos) return std::string(name);
  return fmt::format("{}{}", image_path.substr(0, slash + 1), name);
}

}  // namespace

Result<std::string> resolve_backing_name(std::string_view image_path, std::string_view name) {
  return resolve(image_path, name, "backing file");
}

Result<std::string> resolve_data_file_name(std::string_view image_path, std::string_view name) {
  return resolve(image_path, name, "data file");
}

}  // namespace hull::blockcore
