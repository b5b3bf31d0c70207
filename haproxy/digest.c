/* SHA-256 by libcrypto; base32 because it stays one word in lower case. Owns nothing. */
#include "haproxy/digest.h"

#include "hatchway/base/bug.h"

#include <openssl/evp.h>

struct digest digest_of(const void *p, size_t n)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned char hash[EVP_MAX_MD_SIZE];
	struct digest ret;
	BUG_ON(!EVP_Digest(p, n, hash, NULL, EVP_sha256(), NULL));
	for (unsigned i = 0; i < DIGEST_LEN; i++) {
		unsigned bit = i * 5;
		unsigned pair = (unsigned)hash[bit / 8] << 8 | hash[bit / 8 + 1];
		ret.text[i] = alphabet[(pair >> (11 - bit % 8)) & 31];
	}
	ret.text[DIGEST_LEN] = 0;
	return ret;
}
