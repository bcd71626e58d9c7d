#include "tools/hull/archive/unpack.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <string_view>

#include "base/unique_fd.h"
#include "tools/hull/archive/tar_reader.h"

namespace hull::cli {

namespace {

constexpr size_t kMaxReasons = 10;
constexpr size_t kMaxDepth = 128;
constexpr size_t kWriteBytes = 1u << 20;
constexpr size_t kWatchedBytes = 64;
constexpr mode_t kKeptPermissions = 0777;  // no set-id bits
constexpr mode_t kOwnerAll = 0700;         // or nothing could be put into a directory

// "a/./b//c" is a, b, c. Absent: what does not name something below the directory.
std::optional<std::vector<std::string>> components_of(std::string_view name) {
  std::vector<std::string> components;
  if (name.starts_with('/') || name.size() >= PATH_MAX || name.find('\0') != name.npos) return {};
  while (!name.empty()) {
    const std::string_view word = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(name.size(), word.size() + 1));
    if (word.empty() || word == ".") continue;
    if (word == ".." || word.size() > NAME_MAX) return {};
    components.emplace_back(word);
  }
  if (components.size() > kMaxDepth) return {};
  return components;
}

// Of a link that lies `depth` directories below the top. ".." may stand at the beginning alone:
// behind the name of another link it would lead from where that one ends.
bool stays_inside(std::string_view target, size_t depth) {
  if (target.empty() || target.starts_with('/')) return false;
  std::string_view rest = target;
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find('/'));
    if (word == ".." && depth-- == 0) return false;
    if (word != ".." && word != "." && !word.empty()) break;
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  }
  return components_of(rest).has_value();
}

class Unpacker {
 public:
  Unpacker(int archive, int root, std::vector<std::string> watched)
      : archive_(archive), root_(root), watched_(std::move(watched)), buffer_(kWriteBytes) {}

  Result<void> add(const TarEntry& entry) {
    ++unpacked_.entries;
    auto components = components_of(entry.name);
    if (!components) return leave_out(entry, "leads out of the directory, or is too long");
    if (entry.kind == TarEntry::Kind::kOther)
      return leave_out(entry, "is no file, directory or link");
    if (components->empty()) return {};  // the directory itself
    const std::string name = std::move(components->back());
    components->pop_back();
    const Result<UniqueFd> parent = open_parent(*components);
    if (!parent) return fail_or_leave_out(entry, parent.error());
    Result<void> made;
    switch (entry.kind) {
      case TarEntry::Kind::kFile: made = add_file(entry, parent->get(), name); break;
      case TarEntry::Kind::kDirectory: made = add_directory(entry, parent->get(), name); break;
      case TarEntry::Kind::kSymbolicLink:
        if (!stays_inside(entry.target, components->size()))
          return leave_out(entry, "is a link that leads out of the directory");
        made = add_symbolic_link(entry, parent->get(), name);
        break;
      case TarEntry::Kind::kHardLink: made = add_hard_link(entry, parent->get(), name); break;
      case TarEntry::Kind::kOther: break;
    }
    if (!made) return fail_or_leave_out(entry, made.error());
    components->push_back(name);
    if (entry.kind == TarEntry::Kind::kFile && *components == watched_) return watch(entry);
    return {};
  }

  Unpacked take() { return std::move(unpacked_); }

 private:
  Result<void> leave_out(const TarEntry& entry, std::string_view why) {
    if (unpacked_.left_out++ < kMaxReasons)
      unpacked_.reasons.push_back(fmt::format("'{}' {}", entry.name.substr(0, 200), why));
    return {};
  }

  // What an archive contradicts itself about is its own fault; the host's faults end everything.
  Result<void> fail_or_leave_out(const TarEntry& entry, const Error& error) {
    switch (error.error_number()) {
      case ELOOP:
      case ENOTDIR:
      case EISDIR:
      case EEXIST:
      case ENOENT:
      case ENOTEMPTY:
      case EMLINK:
      case ENAMETOOLONG:
        return leave_out(entry, "does not go with what is there: " + error.message());
      default: return std::unexpected(error);
    }
  }

  // Directories that are not there are made; a link in the way is not followed.
  Result<UniqueFd> open_parent(const std::vector<std::string>& components) const {
    UniqueFd at(::fcntl(root_, F_DUPFD_CLOEXEC, 3));
    for (const std::string& name : components) {
      ::mkdirat(at.get(), name.c_str(), 0777);
      UniqueFd next(
          ::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!next.valid()) return std::unexpected(Error::from_errno("open '" + name + "'"));
      at = std::move(next);
    }
    if (!at.valid()) return std::unexpected(Error::from_errno("the directory"));
    return at;
  }

  static Result<void> make_room(int parent, const std::string& name) {
    if (::unlinkat(parent, name.c_str(), 0) != 0 && errno != ENOENT)
      return std::unexpected(Error::from_errno("replace '" + name + "'"));
    return {};
  }

  Result<void> add_file(const TarEntry& entry, int parent, const std::string& name) {
    TRY(make_room(parent, name));
    const UniqueFd file(::openat(parent, name.c_str(),
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                 entry.mode & kKeptPermissions));
    if (!file.valid()) return std::unexpected(Error::from_errno("make '" + name + "'"));
    for (uint64_t done = 0; done < entry.size;) {
      const auto piece =
          std::span(buffer_).first(std::min<uint64_t>(entry.size - done, buffer_.size()));
      TRY(read_exact_at(archive_, piece, entry.data_at + done));
      TRY(write_all_at(file.get(), piece, done).with_context("write '" + name + "'"));
      done += piece.size();
    }
    const timespec time{.tv_sec = entry.mtime, .tv_nsec = 0};
    const timespec times[2] = {time, time};
    ::futimens(file.get(), times);  // a time that the file system does not know is no loss
    return {};
  }

  Result<void> add_directory(const TarEntry& entry, int parent, const std::string& name) const {
    const mode_t mode = (entry.mode & kKeptPermissions) | kOwnerAll;
    if (::mkdirat(parent, name.c_str(), mode) == 0) return {};
    if (errno != EEXIST) return std::unexpected(Error::from_errno("make '" + name + "'"));
    const UniqueFd there(
        ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!there.valid()) return std::unexpected(Error::from_errno("make '" + name + "'"));
    return {};
  }

  static Result<void> add_symbolic_link(const TarEntry& entry, int parent,
                                        const std::string& name) {
    TRY(make_room(parent, name));
    if (::symlinkat(entry.target.c_str(), parent, name.c_str()) != 0)
      return std::unexpected(Error::from_errno("make '" + name + "'"));
    return {};
  }

  Result<void> add_hard_link(const TarEntry& entry, int parent, const std::string& name) {
    auto components = components_of(entry.target);
    if (!components || components->empty())
      return leave_out(entry, "is a link that leads out of the directory");
    const std::string last = std::move(components->back());
    components->pop_back();
    const UniqueFd source = TRY(open_parent(*components));
    struct stat one{}, other{};
    if (::fstatat(source.get(), last.c_str(), &one, AT_SYMLINK_NOFOLLOW) != 0)
      return std::unexpected(Error::from_errno("link to '" + last + "'"));
    if (::fstatat(parent, name.c_str(), &other, AT_SYMLINK_NOFOLLOW) == 0 &&
        one.st_ino == other.st_ino && one.st_dev == other.st_dev)
      return {};
    TRY(make_room(parent, name));
    if (::linkat(source.get(), last.c_str(), parent, name.c_str(), 0) != 0)
      return std::unexpected(Error::from_errno("link to '" + last + "'"));
    return {};
  }

  Result<void> watch(const TarEntry& entry) {
    std::string text(std::min<uint64_t>(entry.size, kWatchedBytes), '\0');
    TRY(read_exact_at(archive_, std::as_writable_bytes(std::span(text)), entry.data_at));
    unpacked_.watched = std::move(text);
    return {};
  }

  int archive_, root_;
  std::vector<std::string> watched_;
  std::vector<std::byte> buffer_;
  Unpacked unpacked_;
};

}  // namespace

Result<Unpacked> unpack_directory(int fd, uint64_t bytes, const std::string& directory,
                                  const std::string& watched) {
  if (::mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST)
    return std::unexpected(Error::from_errno("make '" + directory + "'"));
  const UniqueFd root = TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
  Unpacker unpacker(fd, root.get(), components_of(watched).value_or(std::vector<std::string>()));
  TarReader reader(fd, bytes);
  while (const auto entry = TRY(reader.next())) TRY(unpacker.add(*entry).with_context(directory));
  return unpacker.take();
}

}  // namespace hull::cli
