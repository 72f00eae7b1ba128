-- For pandoc: links to documents become links to their pages; names of other files that are linked go to standard error.
local function moved(target)
    if target:match("^%a+:") or target:match("^#") or target:match("%.html$") then return target end
    local file, anchor = target:match("^([^#]*)(.*)$")
    if file:match("%.md$") then return file:gsub("%.md$", ".html") .. anchor end
    io.stderr:write(file, "\n")
    return target
end

function Link(link)
    link.target = moved(link.target)
    return link
end

function Image(image)
    image.src = moved(image.src)
    return image
end
