/*
 * tools/device_qr.c: QR codes, for a terminal and as a picture.
 */
#include <errno.h>
#include <qrencode.h>
#include <string.h>

#include "device.h"

/* ISO/IEC 18004 asks for so many light modules on each side. */
enum { QUIET = 4 };

/* The least correction: a screen has no stains, and bigger modules are read
 * more easily. */
static QRcode *
encode(const char *text, struct reason *why)
{
	QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);

	if (code == NULL)
		fail(why, errno == ERANGE ? REASON_RANGE : REASON_NO_MEMORY,
		    "QR code: %s",
		    errno == ERANGE ? "too much text for one" : "no memory");
	return code;
}

/* Is the module dark?  Those outside are not. */
static bool
is_dark(const QRcode *code, int x, int y)
{
	return x >= 0 && y >= 0 && x < code->width && y < code->width &&
	       (code->data[y * code->width + x] & 1) != 0;
}

static void
code_free(QRcode *code)
{
	/* It may hold a password. */
	explicit_bzero(code->data, (size_t)code->width * (size_t)code->width);
	QRcode_free(code);
}

/* Blocks are the light modules, two rows a line. */
bool
device_qr_text(const char *text, bool colours, FILE *to, struct reason *why)
{
	static const char *const blocks[2][2] = { { "\u2588", "\u2580" },
		{ "\u2584", " " } };
	QRcode *code = encode(text, why);

	if (code == NULL)
		return false;
	for (int y = -QUIET; y < code->width + QUIET; y += 2) {
		if (colours)
			fputs("\033[97;40m", to);
		for (int x = -QUIET; x < code->width + QUIET; x++)
			fputs(blocks[is_dark(code, x, y)]
				    [is_dark(code, x, y + 1)],
			    to);
		if (colours)
			fputs("\033[0m", to);
		fputc('\n', to);
	}
	code_free(code);
	return true;
}

/* Runs of dark modules as rectangles one high. */
static void
put_row(const QRcode *code, int y, FILE *to)
{
	for (int x = 0; x < code->width; x++) {
		int from = x;

		while (is_dark(code, x, y))
			x++;
		if (x > from)
			fprintf(to, "M%d %dh%dv1h-%dz\n", from + QUIET,
			    y + QUIET, x - from, x - from);
	}
}

bool
device_qr_svg(const char *text, FILE *to, struct reason *why)
{
	QRcode *code = encode(text, why);
	int side;

	if (code == NULL)
		return false;
	side = code->width + 2 * QUIET;
	fprintf(to,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
	    "height=\"%d\" viewBox=\"0 0 %d %d\" "
	    "shape-rendering=\"crispEdges\">\n"
	    "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n"
	    "<path fill=\"#000\" d=\"",
	    side * 8, side * 8, side, side, side, side);
	for (int y = 0; y < code->width; y++)
		put_row(code, y, to);
	fputs("\"/>\n</svg>\n", to);
	code_free(code);
	return true;
}
