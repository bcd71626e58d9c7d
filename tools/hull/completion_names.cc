// Names of domains: those that are defined, and those that run.
#include <dirent.h>

#include <filesystem>
#include <memory>
#include <set>

#include "config/paths.h"
#include "config/validate.h"
#include "tools/hull/completion.h"

namespace hull::cli {

namespace {

constexpr size_t kMaxNames = 1000;  // more are of no use to somebody who types

void add_names_in(const std::string& directory, std::string_view ending, std::string_view typed,
                  std::set<std::string>& names) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  if (!stream) return;
  while (const dirent* const entry = ::readdir(stream.get())) {
    std::string_view name = entry->d_name;
    if (!name.ends_with(ending)) continue;
    name.remove_suffix(ending.size());
    if (name.starts_with(typed) && config::check_domain_name(name) && names.size() < kMaxNames)
      names.emplace(name);
  }
}

// The value of an option that stands among `words`: "--root DIR" or "--root=DIR".
std::string value_of(std::string_view option, Arguments words) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == option && i + 1 < words.size()) return words[i + 1];
    if (word.starts_with(option) && word.substr(option.size()).starts_with('='))
      return std::string(word.substr(option.size() + 1));
  }
  return {};
}

}  // namespace

Candidates domain_names(std::string_view typed, Arguments words) {
  const std::string root = value_of("--root", words);
  const bool libvirt = value_of("--layout", words) == "libvirt";
  std::error_code failed;
  const auto paths =
      root.empty()
          ? config::Paths::standard(config::PathEnvironment::of_process(),
                                    libvirt ? config::Product::kLibvirt : config::Product::kHull)
          : config::Paths::below(std::filesystem::absolute(root, failed).string());
  if (!paths) return {};
  std::set<std::string> names;
  add_names_in(paths->definition_dir, ".xml", typed, names);
  add_names_in(paths->run_dir, ".pid", typed, names);
  return {names.begin(), names.end()};
}

}  // namespace hull::cli
