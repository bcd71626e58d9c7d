#include "tools/hull/archive/tar_reader.h"

#include <charconv>
#include <span>

#include "base/unique_fd.h"

namespace hull::cli {

namespace {

TarEntry::Kind kind_of(char type) {
  using enum TarEntry::Kind;
  switch (type) {
    case '0':
    case '\0':
    case '7': return kFile;  // '7': contiguous, of old
    case '1': return kHardLink;
    case '2': return kSymbolicLink;
    case '5': return kDirectory;
    default: return kOther;
  }
}

// Only of these is there something behind the header (POSIX: "no data" of links and directories;
// devices and pipes have none either).
bool has_data(char type) {
  return type == '\0' || type == '0' || type == '7' || type < '1' || type > '6';
}

// GNU's are C strings.
std::string until_zero(std::string text) {
  if (const size_t zero = text.find('\0'); zero != std::string::npos) text.resize(zero);
  return text;
}

}  // namespace

Result<bool> TarReader::read_header(TarHeader& header) {
  TarBlock block;
  if (bytes_ - at_ < kTarBlock) return false;
  TRY(read_exact_at(fd_, std::as_writable_bytes(std::span(block)), at_));
  if (is_zero(block)) return false;
  header = TRY(decode(block).with_context(fmt::format("byte {} of the archive", at_)));
  at_ += kTarBlock;
  return true;
}

Result<std::string> TarReader::read_extension(uint64_t size) {
  if (size > kMaxExtension || size > bytes_ - at_)
    return fail(ErrorKind::kInvalidFormat, "byte {} of the archive: a name of {} bytes", at_, size);
  std::string text(size, '\0');
  TRY(read_exact_at(fd_, std::as_writable_bytes(std::span(text)), at_));
  at_ = std::min(bytes_, at_ + in_blocks(size));
  return text;
}

// "LENGTH KEY=VALUE\n", the length that of all of it: POSIX.1-2017, pax, "pax Header Block".
Result<void> TarReader::take_pax(const std::string& records, Extension& extension) {
  const auto damaged = [this] {
    return fail(ErrorKind::kInvalidFormat, "before byte {} of the archive: a damaged pax header",
                at_);
  };
  std::string_view rest = records;
  while (!rest.empty() && rest[0] != '\0') {
    size_t length = 0;
    const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    const auto digits = static_cast<size_t>(parsed.ptr - rest.data());
    if (parsed.ec != std::errc() || length > rest.size() || length < digits + 2 ||
        rest[digits] != ' ' || rest[length - 1] != '\n')
      return damaged();
    const std::string_view record = rest.substr(digits + 1, length - digits - 2);
    rest.remove_prefix(length);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos) return damaged();
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") extension.name = value;
    if (key == "linkpath") extension.target = value;
    if (key.starts_with("GNU.sparse.")) extension.sparse = true;
    if (key != "size") continue;
    uint64_t size = 0;
    const auto number = std::from_chars(value.data(), value.data() + value.size(), size);
    if (number.ec != std::errc() || number.ptr != value.data() + value.size()) return damaged();
    extension.size = size;
  }
  return {};
}

Result<TarEntry> TarReader::entry_of(const TarHeader& header, Extension extension) {
  TarEntry entry{.kind = extension.sparse ? TarEntry::Kind::kOther : kind_of(header.type),
                 .name = std::move(extension.name).value_or(header.name),
                 .target = std::move(extension.target).value_or(header.target),
                 .mode = header.mode,
                 .mtime = header.mtime,
                 .size = has_data(header.type) ? extension.size.value_or(header.size) : 0,
                 .data_at = at_};
  // Before POSIX a directory was a file whose name ends in a slash.
  if (header.type == '\0' && entry.name.ends_with('/')) entry.kind = TarEntry::Kind::kDirectory;
  if (entry.size > bytes_ - at_)
    return fail(ErrorKind::kInvalidFormat, "'{}' is longer than what is left of the archive",
                entry.name);
  at_ = std::min(bytes_, at_ + in_blocks(entry.size));
  return entry;
}

Result<std::optional<TarEntry>> TarReader::next() {
  Extension extension;
  TarHeader header;
  while (TRY(read_header(header))) {
    if (++entries_ > kMaxEntries)
      return fail(ErrorKind::kInvalidFormat, "the archive has more than {} entries", kMaxEntries);
    switch (header.type) {
      case 'L': extension.name = until_zero(TRY(read_extension(header.size))); break;
      case 'K': extension.target = until_zero(TRY(read_extension(header.size))); break;
      case 'x': {
        const std::string records = TRY(read_extension(header.size));
        TRY(take_pax(records, extension));
        break;
      }
      case 'g': (void)TRY(read_extension(header.size)); break;  // nothing that is of use here
      default: return TRY(entry_of(header, std::move(extension)));
    }
  }
  return std::optional<TarEntry>();
}

}  // namespace hull::cli
