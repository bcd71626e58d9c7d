// The options of a new image (-o), for the verbs that make or measure one.
#pragma once

#include <string>
#include <vector>

#include "blockcore/image/create.h"
#include "tools/hull/img_options.h"

namespace hull::cli {

// Each of `words` is KEY=VALUE,…; create.format says which keys there are. encrypt.key-secret names
// one of `secrets`. Errors name create.path.
Result<void> set_create_options(const std::vector<std::string>& words,
                                blockcore::CreateImageOptions& create,
                                const ImgSecrets& secrets = {});

// kUsage for a backing format without a backing file.
Result<void> check_backing_words(const blockcore::CreateImageOptions& create);

// One of the words of -o asks which options there are: "help" or "?".
bool wants_option_list(const std::vector<std::string>& words);
// Prints them for a format; the exit code.
int print_create_options(const std::string& format);

// "fmt=qcow2 cluster_size=65536 …", as qemu-img announces it.
std::string describe_create(const blockcore::CreateImageOptions& create, uint64_t size_bytes);

}  // namespace hull::cli
