#include "tools/hull/domain_document.h"

#include <unistd.h>

#include "base/unique_fd.h"
#include "config/xml.h"

namespace hull::cli {

namespace {

Result<std::string> contents_of(const std::string& file) {
  if (file == "-") return read_whole(STDIN_FILENO, config::kMaxXmlBytes);
  const UniqueFd opened = TRY(open_file(file, O_RDONLY));
  // An image in the place of the document is a common mistake.
  char magic[4]{};
  if (::pread(opened.get(), magic, sizeof magic, 0) == sizeof magic &&
      std::string_view(magic, sizeof magic) == "QFI\xfb")
    return fail(ErrorKind::kInvalidConfig, "is a qcow2 image and no domain XML");
  return read_whole(opened.get(), config::kMaxXmlBytes);
}

}  // namespace

std::string source_of(const std::string& file) { return file == "-" ? "standard input" : file; }

Result<config::DomainReading> read_domain_file(const std::string& file,
                                               const config::ReadOptions& options) {
  auto text = contents_of(file);
  // Too large is no matter of the file system: the document is refused as any other that is wrong.
  if (!text && text.error().kind() == ErrorKind::kOutOfRange)
    return fail(ErrorKind::kInvalidConfig, "{}: {}", source_of(file), text.error().message());
  const std::string contents = TRY(std::move(text).with_context(source_of(file)));
  return config::read_domain(contents, source_of(file), options);
}

}  // namespace hull::cli
