// Credit arithmetic.
#include "channel/credit.h"

#include <algorithm>

namespace loader::channel {

namespace {
// Windows and payloads are kept far from the edge of int64_t, so that sums cannot overflow.
constexpr uint64_t kMaxBytes = uint64_t{1} << 60;

int64_t clamp_bytes(uint64_t bytes) {
  return static_cast<int64_t>(std::min(bytes, kMaxBytes));
}
}  // namespace

SendCredit::SendCredit(uint32_t records, uint64_t bytes)
    : window_bytes_(clamp_bytes(bytes)),
      bytes_(window_bytes_),
      window_records_(records),
      records_(records) {}

bool SendCredit::fits(uint64_t bytes) const {
  if (records_ == 0 || bytes > kMaxBytes) return false;
  const int64_t size = clamp_bytes(bytes);
  return size <= bytes_ || bytes_ > window_bytes_ / 2;
}

bool SendCredit::take(uint64_t bytes) {
  if (!fits(bytes)) return false;
  --records_;
  bytes_ -= clamp_bytes(bytes);
  return true;
}

bool SendCredit::give_back(Grant grant) {
  if (grant.records > window_records_ - records_) return false;
  if (grant.bytes > static_cast<uint64_t>(window_bytes_ - bytes_)) return false;
  records_ += grant.records;
  bytes_ += static_cast<int64_t>(grant.bytes);
  return true;
}

bool ReceiveCredit::is_due() const {
  return pending_.bytes >= std::max<uint64_t>(threshold_, 1) ||
         pending_.records >= std::max<uint32_t>(sender_.records(), 1) || sender_.bytes() <= 0;
}

Grant ReceiveCredit::consumed(uint64_t bytes) {
  ++pending_.records;
  pending_.bytes += bytes;
  return is_due() ? take_pending() : Grant{};
}

Grant ReceiveCredit::take_pending() {
  const Grant grant = pending_;
  if (!sender_.give_back(grant)) return {};
  pending_ = {};
  return grant;
}

uint64_t ReceiveCredit::outstanding_bytes() const {
  return static_cast<uint64_t>(static_cast<int64_t>(sender_.window_bytes()) - sender_.bytes()) -
         pending_.bytes;
}

}  // namespace loader::channel
