/* A client of HTTP/2 in clear, as small as tests need it: one request of a connection, its headers neither indexed nor compressed,
 * what is answered read frame by frame. For tests only. */
#ifndef HATCHWAY_HAPROXY_H2_CLIENT_H
#define HATCHWAY_HAPROXY_H2_CLIENT_H

#include "hatchway/table.h"

#include <stdbool.h>
#include <unistd.h>

enum { H2_DATA = 0, H2_HEADERS = 1, H2_RESET = 3, H2_SETTINGS = 4 };
enum { H2_END_STREAM = 1, H2_END_HEADERS = 4, H2_FRAME_HEAD = 9 };

static void h2_frame(struct buf *out, unsigned char type, unsigned char flags, unsigned char stream, const void *data, size_t n)
{
	const unsigned char head[H2_FRAME_HEAD] = {(unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n, type, flags,
	                                           0, 0, 0, stream};
	buf_add(out, (const char *)head, sizeof(head));
	buf_add(out, data, n);
}

/* Shorter than 127 bytes. */
static void h2_string(struct buf *out, const char *text)
{
	buf_addc(out, (char)strlen(text));
	buf_adds(out, text);
}

/* The connection's begin and a request without a body yet: end, or more is to come by h2_data(). */
UNUSED static void h2_request(struct buf *out, const struct table_header *headers, size_t n, bool end)
{
	struct buf block;
	buf_init(&block, 4096);
	for (size_t i = 0; i < n; i++) {
		buf_addc(&block, 0);
		h2_string(&block, headers[i].name);
		h2_string(&block, headers[i].value);
	}
	buf_adds(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	h2_frame(out, H2_SETTINGS, 0, 0, "", 0);
	h2_frame(out, H2_HEADERS, H2_END_HEADERS | (end ? H2_END_STREAM : 0), 1, block.data, block.len);
	buf_done(&block);
}

UNUSED static void h2_data(struct buf *out, const void *data, size_t n, bool end)
{
	h2_frame(out, H2_DATA, end ? H2_END_STREAM : 0, 1, data, n);
}

static bool h2_read(int fd, unsigned char *to, size_t n)
{
	for (ssize_t r; n; to += r, n -= (size_t)r)
		if ((r = read(fd, to, n)) <= 0)
			return false;
	return true;
}

/* Reads until the request has a frame of this type. false: the connection or the request ended before. */
UNUSED static bool h2_await(int fd, unsigned char type)
{
	unsigned char head[H2_FRAME_HEAD], rest[16384];
	for (;;) {
		if (!h2_read(fd, head, sizeof(head)))
			return false;
		size_t n = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
		if (n > sizeof(rest) || !h2_read(fd, rest, n))
			return false;
		if (head[8] != 1)
			continue;
		if (head[3] == type || head[3] == H2_RESET)
			return head[3] == type;
	}
}

#endif
