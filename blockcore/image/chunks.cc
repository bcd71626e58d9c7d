#include "blockcore/image/chunks.h"

#include <algorithm>
#include <vector>

#include "blockcore/async/run_all.h"

namespace hull::blockcore {
namespace {

struct Course {
  const uint64_t size;
  ChunkWork& work;
  const ProgressReport& progress;
  uint64_t next = 0;
  uint64_t done = 0;
  bool failed = false;
};

Task<Result<void>> take_chunks(Course& course) {
  while (!course.failed && course.next < course.size) {
    const uint64_t offset = course.next;
    const uint64_t length = std::min(kChunkBytes, course.size - offset);
    course.next += length;
    auto result = co_await course.work.run(offset, length);
    if (!result) {
      course.failed = true;
      co_return std::move(result);
    }
    course.done += length;
    if (course.progress) course.progress(course.done, course.size);
  }
  co_return {};
}

}  // namespace

Task<Result<void>> for_each_chunk(uint64_t size_bytes, ChunkWork& work,
                                  const ProgressReport& progress) {
  Course course{.size = size_bytes, .work = work, .progress = progress};
  std::vector<Task<Result<void>>> takers;
  takers.reserve(kChunksInFlight);
  for (size_t i = 0; i < kChunksInFlight; ++i) takers.push_back(take_chunks(course));
  co_return co_await run_all(std::move(takers));
}

}  // namespace hull::blockcore
