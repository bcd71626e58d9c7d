// What most sources include anyway, compiled once per library. A file includes what it uses all the
// same: -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON shows what it forgot.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <coroutine>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>
