#include "src/text/byte_alphabet.h"

#include "src/base/utf8.h"

static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

/* -1 for a character that is none of the alphabet. */
static int byte_of(uint32_t character)
{
    if (character < 0x100) return stands_for_itself(character) ? (int)character : -1;
    uint32_t wanted = character - 0x100, seen = 0;
    for (uint32_t byte = 0; byte < 0x100 && wanted < 0x100; byte++)
        if (!stands_for_itself(byte) && seen++ == wanted) return (int)byte;
    return -1;
}

bool byte_alphabet_decode(const char *text, size_t length, uint8_t *bytes, size_t *count)
{
    *count = 0;
    for (size_t place = 0, step; place < length; place += step) {
        int byte = byte_of(utf8_decode((const uint8_t *)text + place, &step));
        if (byte < 0) return false;
        bytes[(*count)++] = (uint8_t)byte;
    }
    return true;
}
